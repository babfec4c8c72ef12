"""A real narthexd with its own data directory, and the real command line client, for end-to-end tests.

    with Server() as server:
        server.narthex("project", "create", "P1")
        answer = server.narthex("upload", folder, "--project", "P1")

NARTHEX_TEST_POSTGRES=external gives each server a database of a PostgreSQL of its own (external_postgres.py) instead of the one that it
manages itself.
"""

import collections
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import external_postgres

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("NARTHEX_BIN", ROOT / "build/dev/bin"))


def shared_folder():
    """The folder of real images, or None where it is absent; in CI its absence is a failure."""
    folder = pathlib.Path(os.environ.get("NARTHEX_SHARED", ROOT.parent / "shared"))
    if (folder / "data/SESSIONS.json").exists():
        return folder
    if os.environ.get("CI") == "true":
        raise AssertionError(f"the shared test images are missing: {folder}")
    print(f"SKIPPED LOUDLY: no test images at {folder} (set NARTHEX_SHARED)", file=sys.stderr)
    return None


def needs_shared(test):
    return test if shared_folder() else unittest.skip("the shared test images are absent")(test)


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class CommandFailed(AssertionError):
    def __init__(self, command, result):
        super().__init__(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout[-3000:]}\n"
                         f"{result.stderr[-3000:]}")
        self.returncode = result.returncode
        self.stdout = result.stdout


class Server:
    def __init__(self, data_dir=None, flags=(), wrapper=()):
        self._own_dir = data_dir is None
        self.data_dir = pathlib.Path(data_dir or tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.flags = list(flags)
        self.wrapper = list(wrapper)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.stop()
        if self._own_dir:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def start(self, timeout=60):
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        if os.environ.get("NARTHEX_TEST_POSTGRES") == "external" and "--postgres" not in self.flags:
            self.flags += ["--postgres", external_postgres.Cluster.get().new_database()]
        self.log = open(self.data_dir / "narthexd.log", "ab")
        command = self.wrapper + [
            BIN / "narthexd", "--data-dir", self.data_dir / "d", "--grpc-listen", "127.0.0.1:0", "--ready-file",
            ready] + ([] if "--dicom-listen" in self.flags else ["--dicom-listen", "127.0.0.1:0"]) + self.flags
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        end = time.monotonic() + timeout
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"narthexd does not start:\n{self.log_text()[-3000:]}")
            time.sleep(0.02)
        self.ready = json.loads(ready.read_text())
        self.address = self.ready["grpc"]
        self.dicom_host, _, self.dicom_port = self.ready["dicom"].rpartition(":")
        self.token = pathlib.Path(self.ready["token_file"]).read_text().strip()

    def log_text(self):
        return (self.data_dir / "narthexd.log").read_text(errors="replace")

    def sql(self, text):
        """Runs statements in the server's database as its superuser, whom no policy binds; what psql prints."""
        if "--postgres" in self.flags:
            conninfo = dict(word.split("=") for word in self.flags[self.flags.index("--postgres") + 1].split())
            return external_postgres.Cluster.get().sql(text, conninfo["dbname"])
        socket = next((self.data_dir / "d/postgres").rglob(".s.PGSQL.*[0-9]")).parent
        return external_postgres.psql(socket, "narthex", "narthex", text)

    def verify(self, *arguments):
        """narthex-verify on the stopped server's data."""
        postgres = self.flags[self.flags.index("--postgres"):][:2] if "--postgres" in self.flags else []
        return subprocess.run([BIN / "narthex-verify", "--data-dir", self.data_dir / "d", *postgres, *arguments],
                              capture_output=True, text=True, timeout=120)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Stops it as an operator would; a clean stop exits with 0. Before, what it holds must add up."""
        if self.process and self.process.poll() is None:
            wrong = self.wrong_sums()
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"narthexd does not stop:\n{self.log_text()[-3000:]}")
            if code != 0:
                raise AssertionError(f"narthexd stopped with {code}:\n{self.log_text()[-3000:]}")
            self.log.close()
            if wrong:
                raise AssertionError(f"outcomes do not add up: {wrong}")

    def memory_kib(self):
        """The most memory that the server ever had, in KiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
        raise AssertionError("no VmHWM")

    def run(self, *arguments, timeout=300, token=None):
        environment = dict(os.environ, NARTHEX_SERVER=self.address, NARTHEX_TOKEN=self.token if token is None else token)
        return subprocess.run([BIN / "narthex", "--output", "json", *map(str, arguments)], env=environment,
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def narthex(self, *arguments, code=0, timeout=300):
        """Runs a command and returns its JSON. `code`: the exit code that it must have (None: any)."""
        result = self.run(*arguments, timeout=timeout)
        if code is not None and result.returncode != code:
            raise CommandFailed(arguments, result)
        return json.loads(result.stdout) if result.stdout.strip() else {}

    def prearchive(self, *arguments):
        return self.narthex("prearchive", "list", *arguments).get("prearchiveSessions", [])

    def sessions(self, *arguments):
        return self.narthex("session", "search", *arguments, "--page-size", "1000").get("sessions", [])

    def files(self, session):
        return self.narthex("session", "files", session).get("files", [])

    def storescu(self, *arguments, tool="storescu", timeout=300, code=0):
        command = [tool, "-aec", "NARTHEX", *map(str, arguments)]
        # The peer's address stands before the files.
        at = next(i for i, word in enumerate(command) if word == "--to")
        command[at:at + 1] = [self.dicom_host, self.dicom_port]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout,
                                stdin=subprocess.DEVNULL)
        if code is not None and result.returncode != code:
            raise CommandFailed(command, result)
        return result

    def wait_for(self, condition, what, timeout=60):
        end = time.monotonic() + timeout
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"timed out waiting for {what}\n{self.log_text()[-2000:]}")
            time.sleep(0.1)

    def wrong_sums(self, most=20):
        """Prearchive sessions (of the newest) whose outcomes do not add up to their counts (invariant 2)."""
        wrong = []
        listing = self.run("prearchive", "list")
        sessions = json.loads(listing.stdout).get("prearchiveSessions", []) if listing.returncode == 0 else []
        for session in sessions[:most] + sessions[:most]:  # what arrives in between is looked at twice
            if any(name == session["name"] for name, _, _ in wrong):
                wrong = [entry for entry in wrong if entry[0] != session["name"]]
            listing = self.run("prearchive", "outcomes", session["name"])
            shown = self.run("prearchive", "show", session["name"])
            if listing.returncode != 0 or shown.returncode != 0:
                continue  # it went into the archive meanwhile
            counts = collections.Counter(o["outcome"] for o in json.loads(listing.stdout).get("outcomes", []))
            session = json.loads(shown.stdout)
            if counts != collections.Counter(session["outcomeCounts"]):
                wrong.append((session["name"], dict(counts), session["outcomeCounts"]))
        return wrong

    def check_invariants(self, test):
        """Outcomes add up to what was received, in every prearchive session (invariant 2)."""
        test.assertEqual(self.wrong_sums(), [])


def phantom(folder, modality="MR", series=2, slices=5, size=64, project="P1", subject="S1", session="E1", seed=1):
    subprocess.run([BIN / "narthex-phantom", folder, "--modality", modality, "--series", str(series), "--slices",
                    str(slices), "--size", str(size), "--project", project, "--subject", subject, "--session", session,
                    "--seed", str(seed)], check=True, capture_output=True)
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
