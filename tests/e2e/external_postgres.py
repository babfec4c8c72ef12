"""A PostgreSQL of somebody else for the servers of a test run: one cluster a process, a database with an ordinary role each.

With NARTHEX_TEST_POSTGRES=external in the environment, harness.Server uses it. The roles are what docs/operations.md asks for:
no superuser, no BYPASSRLS, owner of their database.
"""

import atexit
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

SUPERUSER = "postgres"


class Cluster:
    _only = None

    @classmethod
    def get(cls):
        """The process's cluster; it is stopped and removed when the process ends."""
        if cls._only is None:
            cls._only = Cluster()
        return cls._only

    @classmethod
    def logs(cls):
        return [cls._only.folder / "log"] if cls._only else []

    @classmethod
    def superuser(cls, conninfo):
        """The connection string of the superuser to the database of `conninfo`, whatever way that goes; `conninfo` itself if
        the database is in another cluster."""
        words = dict(word.split("=") for word in conninfo.split())
        if cls._only is None or words["dbname"] not in cls._only.databases:
            return conninfo
        return f"host={cls._only.folder} user={SUPERUSER} dbname={words['dbname']}"

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-pg-"))
        self.binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.databases = []
        atexit.register(self.stop)
        become = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        self.folder.chmod(0o711)
        data = self.folder / "data"
        subprocess.run(become + [self.binaries / "initdb", "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale",
                                 "C.UTF-8", "--no-sync"], check=True, capture_output=True, cwd="/")
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(become + [self.binaries / "postgres", "-D", data, "-k", self.folder, "-c",
                                                      "listen_addresses="], cwd="/", stderr=log)
        end = time.monotonic() + 60
        while subprocess.run([self.binaries / "pg_isready", "-q", "-h", self.folder]).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"PostgreSQL does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def new_database(self):
        """The connection string of a new, empty database that an ordinary role owns."""
        name = f"imaging{len(self.databases) + 1}"
        self.databases.append(name)
        self.sql(f"CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS", "postgres")
        self.sql(f"CREATE DATABASE {name} OWNER {name}", "postgres")
        return f"host={self.folder} user={name} dbname={name}"

    def sql(self, text, database):
        """Runs statements as the superuser; what psql prints."""
        return psql(f"host={self.folder} user={SUPERUSER} dbname={database}", text)

    def stop(self):
        process = getattr(self, "process", None)
        if process and process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def psql(conninfo, text):
    result = subprocess.run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-d", conninfo, "-c", text],
                            capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"{text}\n{result.stderr}")
    return result.stdout
