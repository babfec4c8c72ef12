"""The peers that need more than a command line: Orthanc, with SQLite and with PostgreSQL."""

import glob
import json
import os
import pwd
import shutil
import subprocess
import threading
import time
import urllib.request
from http.client import HTTPConnection

import accounting
from servers import Child, DCMTK_ENVIRONMENT, Narthexd, Receiver, Storescp, free_port

HTTP_CONNECTIONS = 4


class Orthanc(Child):
    """Orthanc with SQLite and the settings that measured best."""

    name = "Orthanc"
    ae_title = "ORTHANC"

    def __init__(self, programs, folder, tuned=True):
        del programs
        self.folder, self.tuned = folder, tuned
        if shutil.which("Orthanc") is None:
            raise SystemExit("Orthanc is not installed (apt-get install orthanc)")

    def start(self):
        self.port = free_port()
        self.http_port = free_port()
        settings = {
            "StorageDirectory": str(self.folder / "store"), "IndexDirectory": str(self.folder / "store"),
            "DicomPort": self.port, "DicomAet": self.ae_title, "DicomCheckCalledAet": False,
            "HttpPort": self.http_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True, "MaximumPduLength": 131072, "StoreMD5ForAttachments": False,
            "StorageCompression": False, "OverwriteInstances": False, "HttpThreadsCount": 8, "DicomThreadsCount": 4,
            "SaveJobs": False, "MetricsEnabled": False, "SyncStorageArea": True, **self.more_settings()}
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(settings))
        self._spawn(["Orthanc", config], DCMTK_ENVIRONMENT if self.tuned else None)
        self._wait_for_port()

    def more_settings(self):
        return {}

    def stored(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/statistics") as answer:
            return int(json.loads(answer.read())["CountInstances"])

    def post(self, files):
        """Sends files over HTTP, by several connections that stay open. The client is this program."""
        rest, lock = list(reversed(files)), threading.Lock()
        failed = []

        def send():
            connection = HTTPConnection("127.0.0.1", self.http_port)
            while True:
                with lock:
                    if not rest or failed:
                        return
                    path = rest.pop()
                connection.request("POST", "/instances", path.read_bytes())
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(f"{path.name}: HTTP {answer.status}")

        begin, used = time.monotonic(), os.times()
        threads = [threading.Thread(target=send) for _ in range(HTTP_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise RuntimeError(failed[0])
        after = os.times()
        return accounting.Finished(time.monotonic() - begin, after.user - used.user, after.system - used.system, 0, "")


class OrthancPostgreSQL(Orthanc):
    """Orthanc with its index in a PostgreSQL of its own (defaults, which sync each commit), files beside it."""

    name = "Orthanc+PG"
    plugin = "/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so"

    def __init__(self, programs, folder, tuned=True):
        super().__init__(programs, folder, tuned)
        if not os.path.exists(self.plugin):
            raise SystemExit("Orthanc's PostgreSQL plugin is not installed (apt-get install orthanc-postgresql)")

    def start(self):
        self.database = self.folder / "pg"
        self.database.mkdir()
        self.database_port = free_port()
        self.user = pwd.getpwnam("postgres")
        os.chown(self.database, self.user.pw_uid, self.user.pw_gid)
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self._as_postgres(f"{programs}/initdb", "-D", self.database, "-A", "trust")
        self._as_postgres(f"{programs}/pg_ctl", "-D", self.database, "-w", "-l", self.database / "log", "-o",
                          f"-p {self.database_port} -k {self.database} -h 127.0.0.1", "start")
        self.stop_command = (f"{programs}/pg_ctl", "-D", self.database, "-w", "-m", "fast", "stop")
        self.postmaster = int((self.database / "postmaster.pid").read_text().splitlines()[0])
        super().start()

    def _as_postgres(self, *command):
        privileged = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] if os.geteuid() == 0 else []
        subprocess.run([*privileged, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self):
        super().stop()
        self._as_postgres(*self.stop_command)

    def more_settings(self):
        return {"Plugins": [self.plugin],
                "PostgreSQL": {"EnableIndex": True, "EnableStorage": False, "Host": "127.0.0.1", "Port": self.database_port,
                               "Database": "postgres", "Username": "postgres", "Password": "", "Lock": False}}


STORE_SERVERS = {one.name: one for one in (Narthexd, Storescp, Receiver, Orthanc, OrthancPostgreSQL)}
