"""The servers that are compared. Each is started empty for every single measurement."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# DCMTK's default leaves Nagle's algorithm on, which costs it 40 ms an object.
DCMTK_ENVIRONMENT = {"TCP_NODELAY": "1"}


class Programs:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.narthex = self._find("narthex")
        self.phantom = self._find("narthex-phantom")
        self.sender = self._find("narthex-bench-sender")
        self.receiver = self._find("narthex-bench-receiver")
        self.sink = self._find("narthex-bench-sink")
        self.session = self._find("narthex-bench-session")
        self._find("narthexd")
        # The harness of the end-to-end tests starts it.
        os.environ["NARTHEX_BIN"] = str(self.folder)
        sys.path.insert(0, str(ROOT / "tests/e2e"))
        self.harness = importlib.import_module("harness")

    def _find(self, name):
        path = self.folder / name
        if not path.exists():
            raise SystemExit(f"{path} is missing; build it: ./dev build release")
        return path


# What XNAT's own default site script does: labels in place of the patient's name and ID.
SITE_SCRIPT = """version "6.6"
(0008,1030) := project
(0010,0010) := subject
(0010,0020) := session
"""


class Narthexd:
    """narthexd with managed PostgreSQL, its default settings, and a site script of the default kind in force."""

    name = "narthexd"
    ae_title = "NARTHEX"

    def __init__(self, programs, folder, tuned=True):
        del tuned  # there is nothing to set
        self.folder = folder
        self.server = programs.harness.Server(data_dir=folder, flags=["--metrics-listen", "127.0.0.1:0"])

    def start(self):
        self.server.start()
        self.server.narthex("project", "create", "BENCH")
        script = self.folder / "site.das"
        script.write_text(SITE_SCRIPT)
        self.server.narthex("anon", "set", script)
        self.server.narthex("anon", "enable")
        self.pid = self.server.process.pid
        self.port = int(self.server.dicom_port)
        self.environment = {"NARTHEX_SERVER": self.server.address, "NARTHEX_TOKEN": self.server.token}

    def stop(self):
        self.server.stop()

    def archive_step_seconds(self, step):
        """What the metrics say that this part of archiving took, of all sessions together."""
        with urllib.request.urlopen(f"http://{self.server.ready['metrics']}/metrics") as page:
            for line in page.read().decode().splitlines():
                if line.startswith(f'narthex_archive_step_seconds_sum{{step="{step}"}}'):
                    return float(line.split()[-1])
        return 0.0

    def stored(self):
        return sum(session["objectCount"] for session in self.server.prearchive())


class Child:
    """A server that is one program."""

    ae_title = "BENCH"

    def _spawn(self, command, environment=None):
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=self.log,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        self.pid = self.process.pid

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _wait_for_port(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not start: {(self.folder / 'log').read_text(errors='replace')[-1000:]}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Storescp(Child):
    """DCMTK's receiver at its best: no Nagle, the largest PDU, bytes written as they come. It does not sync."""

    name = "storescp"

    def __init__(self, programs, folder, tuned=True):
        del programs
        self.folder, self.tuned = folder, tuned

    def start(self):
        self.port = free_port()
        self.store = self.folder / "store"
        self.store.mkdir()
        if self.tuned:
            self._spawn(["storescp", "--fork", "+B", "-pdu", "131072", "-od", self.store, self.port], DCMTK_ENVIRONMENT)
        else:
            self._spawn(["storescp", "-od", self.store, self.port])
        self._wait_for_port()

    def stored(self):
        return sum(1 for path in self.store.iterdir() if path.is_file())


class Receiver(Child):
    """Our yardstick: appends and syncs, and does nothing else."""

    name = "receiver"

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder

    def start(self):
        (self.folder / "store").mkdir()
        self._spawn([self.programs.receiver, self.folder / "store"])
        self.port = json.loads(self.process.stdout.readline())["port"]

    def stored(self):
        return None


class Sink(Child):
    """An UploadService that keeps nothing."""

    name = "sink"

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder

    def start(self):
        self._spawn([self.programs.sink])
        port = json.loads(self.process.stdout.readline())["port"]
        self.environment = {"NARTHEX_SERVER": f"127.0.0.1:{port}", "NARTHEX_TOKEN": "x"}
