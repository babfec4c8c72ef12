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
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import external_postgres
import marks

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


def listened(command, result):
    """`result`, whose error texts are searched for patients' values at the end."""
    marks.listen(" ".join(map(str, command)), result.stderr)
    return result


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def expect_no_core(process):
    if not re.search(r"Max core file size\s+0\s+0\s", pathlib.Path(f"/proc/{process.pid}/limits").read_text()):
        raise AssertionError(f"{process.args} would leave a core file, with images and headers in it")


class CommandFailed(AssertionError):
    def __init__(self, command, result):
        super().__init__(f"{' '.join(map(str, command))}: exit {result.returncode}\n{result.stdout[-3000:]}\n"
                         f"{result.stderr[-3000:]}")
        self.returncode = result.returncode
        self.stdout = result.stdout


class Server:
    """After every stop, and at the end after a kill too, narthex-verify looks at what the server left: invariants 1, 2, 4 and
    8 for all sessions and uploads. `damage`: kinds of findings that the test causes by intent. At every stop and kill, what it
    wrote is searched for patients' values (marks.py)."""

    def __init__(self, data_dir=None, flags=(), wrapper=(), damage=()):
        self._own_dir = data_dir is None
        self.data_dir = pathlib.Path(data_dir or tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.flags = list(flags)
        self.wrapper = list(wrapper)
        self.grpc_listen = "127.0.0.1:0"
        self.environment = {}
        self.damage = set(damage)
        # Whether senders may have sent an object again before they had its first answer.
        self.resends = False
        # What narthex-verify may take: it reads every byte.
        self.verify_seconds = 200
        # Whether kill() searches, too, which takes a moment: campaigns that kill it thousands of times search at the end.
        self.search_kills = True
        self.program = BIN / "narthexd"
        self.verifier = [BIN / "narthex-verify"]
        self.process = None
        self.ready = {}
        self._unverified = False

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind=None, *unused):
        try:
            self.stop()
            self._expect_clean([])
            if kind is None:  # else the test has failed already, and says so better
                self.check_data()
        finally:
            if self._own_dir:
                shutil.rmtree(self.data_dir, ignore_errors=True)

    def start(self, timeout=60):
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        if os.environ.get("NARTHEX_TEST_POSTGRES") == "external" and "--postgres" not in self.flags:
            self.flags += ["--postgres", external_postgres.Cluster.get().new_database()]
        self.log = open(self.data_dir / "narthexd.log", "ab")
        command = self.wrapper + [
            self.program, "--data-dir", self.data_dir / "d", "--grpc-listen", self.grpc_listen, "--ready-file",
            ready] + self.flags
        for name, value in (("--dicom-listen", "127.0.0.1:0"), ("--metrics-listen", "127.0.0.1:0"), ("--log-level", "debug")):
            if name not in self.flags:
                command += [name, value]
        self._unverified = True
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=dict(os.environ, **self.environment))
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

    def superuser(self):
        """The connection string of a superuser, whom no policy binds, to the server's database."""
        postgres = self.flags[self.flags.index("--postgres") + 1] if "--postgres" in self.flags else "managed"
        if postgres != "managed":
            return external_postgres.Cluster.superuser(postgres)
        socket = next((self.data_dir / "d/postgres").rglob(".s.PGSQL.*[0-9]")).parent
        return f"host={socket} user=narthex dbname=narthex"

    def sql(self, text):
        """Runs statements in the server's database as its superuser; what psql prints."""
        return external_postgres.psql(self.superuser(), text)

    def verify(self, *arguments):
        """narthex-verify on the stopped server's data."""
        postgres = self.flags[self.flags.index("--postgres"):][:2] if "--postgres" in self.flags else []
        command = [*self.verifier, "--data-dir", self.data_dir / "d", *postgres, *arguments]
        return listened(command, subprocess.run(command, capture_output=True, text=True, timeout=120))

    def gateway(self, *flags, token_file=None):
        """Starts a narthex-gateway to the server, whose log is searched as the server's own. Stopping it is the caller's.
        Returns the process, with `host` and `port` of its DICOM listener."""
        ready = self.data_dir / "gateway.json"
        ready.unlink(missing_ok=True)
        with open(self.data_dir / "gateway.log", "ab") as log:
            process = subprocess.Popen([BIN / "narthex-gateway", "--server", self.address, "--token-file",
                                        token_file or self.ready["token_file"], "--dicom-listen", "127.0.0.1:0",
                                        "--ready-file", ready, *flags], stderr=log)
        self.wait_for(lambda: ready.exists() or process.poll() is not None, "the gateway")
        process.host, process.port = json.loads(ready.read_text())["dicom"].rsplit(":", 1)
        return process

    def kill(self):
        """At once; its database is searched while it stands still, as a managed PostgreSQL ends with it."""
        found = []
        try:
            if self.search_kills and self.process.poll() is None:
                found += marks.search_metrics(self)
                self.process.send_signal(signal.SIGSTOP)
                found += marks.search_database(self)
        finally:
            self._end()
        if self.search_kills:
            self._expect_clean(found)

    def _end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _expect_clean(self, found):
        found = found + marks.search_files(self)
        if found:
            raise AssertionError(f"a patient's value is in {found}")

    def stop(self):
        """Stops it as an operator would; a clean stop exits with 0, and what it leaves adds up."""
        if self.process and self.process.poll() is None:
            try:
                expect_no_core(self.process)
                found = marks.search_metrics(self) + marks.search_database(self)
                self.process.send_signal(signal.SIGTERM)
                code = self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"narthexd does not stop:\n{self.log_text()[-3000:]}")
            finally:
                self._end()
            if code != 0:
                raise AssertionError(f"narthexd stopped with {code}:\n{self.log_text()[-3000:]}")
            self.log.close()
            self._expect_clean(found)
            self.check_data()

    def check_data(self):
        """What the stopped (or killed) server left is as the invariants say."""
        if not self._unverified or not (self.data_dir / "d/lock").exists():
            return
        self._unverified = False
        flags = [word for name, value in zip(self.flags, self.flags[1:]) if name in ("--postgres", "--archive-dir")
                 for word in (name, value)]
        command = [*self.verifier, "--data-dir", self.data_dir / "d", "--output", "json", *flags]
        result = listened(command, subprocess.run(command, capture_output=True, text=True, timeout=self.verify_seconds))
        marks.listen("narthex-verify", result.stdout)
        report = json.loads(result.stdout) if result.returncode in (0, 1) else {}
        if result.returncode > 1 or {finding["kind"] for finding in report["findings"]} - self.damage:
            raise AssertionError(f"narthex-verify: exit {result.returncode}\n{result.stdout[-5000:]}\n{result.stderr}")
        retold = report["retoldOutcomeCount"]
        if retold and not self.resends:
            raise AssertionError(f"sessions count {retold} outcomes that no upload was told of")

    def memory_kib(self):
        """The most memory that the server ever had, in KiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
        raise AssertionError("no VmHWM")

    def run(self, *arguments, timeout=300, token=None):
        environment = dict(os.environ, NARTHEX_SERVER=self.address, NARTHEX_TOKEN=self.token if token is None else token)
        command = [BIN / "narthex", "--output", "json", *map(str, arguments)]
        return listened(command, subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout,
                                                stdin=subprocess.DEVNULL))

    def narthex(self, *arguments, code=0, timeout=300):
        """Runs a command and returns its JSON. `code`: the exit code that it must have (None: any)."""
        result = self.run(*arguments, timeout=timeout)
        if code is not None and result.returncode != code:
            raise CommandFailed(arguments, result)
        answer = json.loads(result.stdout) if result.stdout.strip() else {}
        if arguments[0] == "upload":
            check_upload(arguments, answer)
        return answer

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
        result = listened(command, subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout,
                                                  stdin=subprocess.DEVNULL))
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

    def check_invariants(self, test):
        """While it runs: outcomes add up to what was received, in every prearchive session (invariant 2)."""
        wrong = []
        for session in self.prearchive():
            # What arrives between the two calls is looked at again.
            for attempt in range(3):
                listing = self.run("prearchive", "outcomes", session["name"])
                shown = self.run("prearchive", "show", session["name"])
                if listing.returncode != 0 or shown.returncode != 0:
                    break  # it went into the archive meanwhile
                counts = collections.Counter(o["outcome"] for o in json.loads(listing.stdout).get("outcomes", []))
                claimed = collections.Counter(json.loads(shown.stdout)["outcomeCounts"])
                if counts == claimed:
                    break
            else:
                wrong.append((session["name"], dict(counts), dict(claimed)))
        test.assertEqual(wrong, [])


def check_upload(arguments, answer):
    """Every file that was given, and nothing else, has one outcome."""
    outcomes = answer.get("outcomes") if isinstance(answer, dict) else None
    if not outcomes:
        return
    # What scripts refuse on the client's machine was never sent and has no number; each archive is an upload of its own,
    # with numbers of its own.
    numbered = [o for o in outcomes if "--local-anonymize" not in arguments or o.get("digest")]
    repeated = [name for name, count in collections.Counter((o.get("upload"), o["sequence"]) for o in numbered).items()
                if count > 1]
    if repeated:
        raise AssertionError(f"{arguments}: several outcomes of objects {repeated[:10]}")
    paths = [pathlib.Path(str(word)) for word in arguments[1:] if os.path.exists(str(word))]
    if any(path.suffix in (".zip", ".gz", ".tgz", ".tar") for path in paths) or "--skip-known" in arguments or any(
            str(word).startswith("--resume") for word in arguments):
        return
    sent = sum(1 if path.is_file() else sum(file.is_file() for file in path.rglob("*")) for path in paths)
    if sent != len(outcomes):
        raise AssertionError(f"{arguments}: {sent} files, {len(outcomes)} outcomes")


def phantom(folder, modality="MR", series=2, slices=5, size=64, project="P1", subject="S1", session="E1", seed=1,
            patient_name=marks.PATIENT_NAME, patient_id=marks.PATIENT_ID):
    """Its comments say project, subject and session, so that the marked name and id of the patient become no label."""
    patient = ["--patient-name", patient_name, "--patient-id", patient_id] if project and subject and session else []
    subprocess.run([BIN / "narthex-phantom", folder, "--modality", modality, "--series", str(series), "--slices",
                    str(slices), "--size", str(size), "--project", project, "--subject", subject, "--session", session,
                    "--seed", str(seed), *patient], check=True, capture_output=True)
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file())
