"""Kills narthexd with SIGKILL at random moments of uploading, building and archiving, and restarts it on the same data.

    tests/robustness/kill9.py --cycles 100 [--seed N]     a campaign; the seed repeats the choices, not the timing
    tests/robustness/kill9.py                             a few cycles, as a unit test (CI)

Outside the server a record is kept of every acknowledgement (senders.py). After each restart and at the end:

 1. every acknowledged object is in the prearchive or in the archive, with the digest of what was sent (invariant 1);
 2. a session's outcomes add up to its counts (invariant 2);
 3. a session that is visible in the archive has all its files, readable and of their size (invariants 3 and 4);
 4. narthex-verify, run on what half of the crashes left, finds interrupted work but no damage (invariant 8).

At the end, besides: everything can be sent, built and archived; the archive holds exactly what was sent; nothing is
left of interrupted work; narthex-verify finds nothing.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import api  # noqa: E402
from harness import BIN, Server  # noqa: E402
from senders import CliUpload, Study, data_set, send_dicom, send_grpc  # noqa: E402

RECEIVING, BUILDING, READY, CONFLICT, ERROR, ARCHIVING = 1, 2, 3, 4, 5, 6
CYCLES_IN_CI = 8
# So many crashes are looked at before the restart. Not all: a look recovers PostgreSQL, which the restart must do, too.
VERIFIED_CRASHES = 0.5


class Violation(AssertionError):
    pass


def check(condition, what):
    if not condition:
        raise Violation(what)


class Campaign:
    def __init__(self, seed, cycles, log=print):
        self.rng = random.Random(seed)
        self.seed = seed
        self.cycles = cycles
        self.log = log
        self.server = Server(flags=["--log-level", "info"])
        self.server.search_kills = False
        self.server.resends = True
        self.sent = tempfile.TemporaryDirectory(prefix="narthex-kill9-")
        self.studies = []
        self.counts = collections.Counter()
        self.interrupted = collections.Counter()  # by narthex-verify's kinds of unfinished work
        self.checked = set()  # accession ids whose files were hashed
        self.problems = []
        self.restart_seconds = []
        self.archive_operation = ""  # one of those that were started

    # ---- the load

    def load(self, stop, cycle):
        """Threads that keep the server busy until it dies."""
        open_studies = [study for study in self.studies if study.missing()]
        rng = self.rng
        queues = {"grpc": [], "dicom": [], "cli": [], "auto": []}
        for study in rng.sample(open_studies, min(3, len(open_studies))):
            queues[study.door].append(study)
        for door, queue in queues.items():
            for number in range(1 if queue else rng.randint(1, 2)):
                study = Study(self.sent.name, door, f"K{cycle}{door}{number}", rng)
                self.studies.append(study)
                queue.append(study)
        work = [(self.send, (list(queue), random.Random(rng.random()), stop)) for queue in queues.values()]
        work.append((self.file, (stop, random.Random(rng.random()))))
        jobs = [threading.Thread(target=self.guarded, args=item) for item in work]
        for job in jobs:
            job.start()
        return jobs

    def guarded(self, work, arguments):
        try:
            work(*arguments)
        except Exception as error:
            self.problems.append(f"{work.__name__}: {error!r}")

    def send(self, queue, rng, stop):
        for study in queue:
            if stop.is_set():
                return
            if study.door in ("grpc", "auto"):
                send_grpc(self.server, study, rng, self.problems)
            elif study.door == "dicom":
                send_dicom(self.server, study, rng, self.problems)
            elif not self.known(study.label):
                CliUpload(self.server, study).wait(stop)

    def known(self, label):
        """Whether the command line client's session is on its way into the archive, or there, without its knowledge."""
        client = api.Api(self.server)
        try:
            waiting = [row for row in self.prearchive(client) if row.label == label]
            if any(row.state == ARCHIVING for row in waiting):
                return True
            study = next(study for study in self.studies if study.label == label)
            for session in self.archived(client):
                if session.label == label:
                    # It archives only what it was told to be complete.
                    check(session.file_count == len(study.files), f"{label}: archived with {session.file_count} files")
                    for index in range(len(study.files)):
                        study.acknowledge(index)
                    return True
            return False
        except grpc.RpcError:
            return True  # killed meanwhile; the next cycle looks again
        finally:
            client.close()

    def file(self, stop, rng):
        """Builds and archives what is complete, as an operator would."""
        client = api.Api(self.server)
        try:
            while not stop.is_set():
                self.step(client)
                time.sleep(rng.random() * 0.05)
        except grpc.RpcError:
            pass
        finally:
            client.close()

    def step(self, client):
        """Pushes every complete session one state further. Returns how many are not archived yet."""
        complete = {study.label for study in self.studies if study.complete()}
        waiting = [row for row in self.prearchive(client) if row.label in complete]
        for row in waiting:
            try:
                if row.state == ERROR:
                    # An archive of which no answer was given. Where archiving goes by itself, it must go on by itself.
                    check(row.project != "AUTO", f"{row.label} is in ERROR: {row.error}")
                    self.counts["archives that had to be asked for again"] += 1
                if row.state in (RECEIVING, ERROR):
                    client.call("PrearchiveService", "BuildPrearchiveSession", name=row.name)
                elif row.state == READY and row.project != "AUTO":
                    operation = client.call("PrearchiveService", "ArchivePrearchiveSession", name=row.name)
                    self.archive_operation = operation.name.removeprefix("operations/")
                elif row.state == CONFLICT:
                    raise Violation(f"{row.label} is in CONFLICT: {row.conflicts}")
            except grpc.RpcError as error:
                # Somebody was faster (the client's own --archive).
                if error.code() not in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND):
                    raise
        return len(waiting)

    @staticmethod
    def prearchive(client):
        return client.pages("PrearchiveService", "ListPrearchiveSessions", "prearchive_sessions")

    @staticmethod
    def archived(client):
        return client.pages("ArchiveService", "SearchSessions", "sessions")

    # ---- the checks

    def folder(self, session):
        return self.server.data_dir / "d/archive" / session.project / "arc001" / session.label

    def check_all(self):
        client = api.Api(self.server)
        try:
            record = [(study, dict(study.acknowledged)) for study in self.studies]
            # In this order: objects only ever move from the one to the other.
            staged = self.check_prearchive(client)
            filed = self.check_archive(client)
        finally:
            client.close()
        for study, acknowledged in record:
            for uid, index in acknowledged.items():
                digest = study.files[index][2]
                found = staged.get((study.label, uid)) or filed.get((study.label, uid))
                check(found, f"{study.label}: lost the acknowledged instance {uid}")
                check(study.door == "dicom" or found == digest, f"{study.label}: {uid} is {found}, was {digest}")

    def check_prearchive(self, client):
        staged = {}
        for row in self.prearchive(client):
            try:
                outcomes = client.pages("PrearchiveService", "ListOutcomes", "outcomes", name=row.name)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    continue  # archived meanwhile
                raise
            stored = [outcome for outcome in outcomes if outcome.outcome == 1]
            if not any(job.is_alive() for job in self.jobs):
                check(len(outcomes) == sum(row.outcome_counts.values()), f"{row.label}: outcomes do not add up: {row}")
                check(len(stored) == row.object_count, f"{row.label}: {len(stored)} stored, {row.object_count} counted")
            check(len({outcome.sop_instance_uid for outcome in stored}) == len(stored), f"{row.label}: stored twice")
            for outcome in stored:
                # The digest in the record is by the sender's algorithm: SHA-256 only where this test chose it.
                study = next((study for study in self.studies if study.label == row.label), None)
                check(study is not None, f"nobody sent {row.label}")
                sent = {file[1]: file[2] for file in study.files}
                digest = outcome.digest if study.door in ("grpc", "auto") else sent.get(outcome.sop_instance_uid)
                staged[row.label, outcome.sop_instance_uid] = digest
        return staged

    def check_archive(self, client):
        filed = {}
        for session in self.archived(client):
            files = client.pages("ArchiveService", "ListFiles", "files", session=session.name)
            check(len(files) == session.file_count, f"{session.label}: half a session")
            for file in files:
                path = self.folder(session) / file.path
                whole = path.is_file() and path.stat().st_size == file.size_bytes
                check(whole, f"{session.label}: {file.path} is gone")
                if session.accession_id not in self.checked:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    check(digest == file.sha256, f"{session.label}: {file.path} is damaged")
                filed[session.label, file.instance_uid] = file.sha256
            self.checked.add(session.accession_id)
        return filed

    def check_the_end(self):
        """The archive holds what was sent, all of it, and nothing else is there."""
        client = api.Api(self.server)
        check(not self.prearchive(client), "the prearchive is not empty")
        sessions = {session.label: session for session in self.archived(client)}
        check(sorted(sessions) == sorted(study.label for study in self.studies), "archived sessions are not those sent")
        for study in self.studies:
            files = client.pages("ArchiveService", "ListFiles", "files", session=sessions[study.label].name)
            if study.door == "dicom":
                folder = self.folder(sessions[study.label])
                got = sorted(hashlib.sha256(data_set((folder / file.path).read_bytes())).hexdigest() for file in files)
                check(got == sorted(file[3] for file in study.files), f"{study.label}: other data sets")
            else:
                got = sorted(file.sha256 for file in files)
                check(got == sorted(file[2] for file in study.files), f"{study.label}: other bytes")
            self.counts["objects archived"] += len(files)
        self.counts["sessions archived"] = len(sessions)
        client.close()

    def check_leftovers(self):
        data = self.server.data_dir / "d"
        for project in ("P1", "AUTO"):
            folder = data / "archive" / project / "arc001"
            labels = sorted(study.label for study in self.studies if study.project == project)
            names = sorted(os.listdir(folder)) if labels else []
            check(names == labels, f"left in the archive: {set(names) - set(labels)}")
            check(not list(folder.glob("*/.narthex-files")), "journals are left")
        staged = [path for path in (data / "staging/segments").glob("??/*")]
        check(not staged, f"left in staging: {staged}")

    def verify(self):
        """narthex-verify's report on the stopped server's data. Findings are violations."""
        program = pathlib.Path(os.environ.get("NARTHEX_VERIFY", BIN / "narthex-verify"))
        result = subprocess.run([program, "--data-dir", self.server.data_dir / "d", "--output", "json"],
                                capture_output=True, text=True, timeout=300)
        check(result.returncode == 0, f"narthex-verify: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        self.counts["verifications"] += 1
        return json.loads(result.stdout)

    def verify_what_the_crash_left(self):
        """Nothing is damaged even before recovery. Counts what was interrupted."""
        for unfinished in self.verify()["unfinished"]:
            kind = unfinished["kind"]
            if kind == "OPERATION":
                kind = "OPERATION " + unfinished["what"].split()[0]
            self.interrupted[kind] += 1

    # ---- the run

    def run(self):
        self.log(f"kill9: seed {self.seed}, {self.cycles} cycles")
        begin = time.monotonic()
        self.jobs = []
        api.generate()
        self.server.start()
        try:
            self.server.narthex("project", "create", "P1")
            self.server.narthex("project", "create", "AUTO", "--auto-archive", "auto")
            # What is built before all of it was sent would be archived, and the rest be in conflict with it.
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "36000")
            for cycle in range(self.cycles):
                self.cycle(cycle)
            self.finish()
        except BaseException:
            self.log(f"kill9: FAILED (seed {self.seed}); data in {self.server.data_dir}")
            if self.server.process.poll() is None:
                self.server.kill()
            raise
        self.sent.cleanup()
        subprocess.run(["rm", "-rf", self.server.data_dir], check=True)
        restarts = sorted(self.restart_seconds)
        median, longest = restarts[len(restarts) // 2], restarts[-1]
        self.log(f"kill9: passed in {time.monotonic() - begin:.0f} s; {dict(self.counts)}; interrupted: "
                 f"{dict(self.interrupted)}; restart median {median:.2f} s, longest {longest:.2f} s")

    def cycle(self, cycle):
        stop = threading.Event()
        self.jobs = self.load(stop, cycle)
        time.sleep(self.rng.choice([self.rng.uniform(0, 0.3), self.rng.uniform(0.1, 2.5)]))
        if self.server.process.poll() is not None:
            raise Violation(f"narthexd ended by itself:\n{self.server.log_text()[-3000:]}")
        self.server.kill()
        self.counts["kills"] += 1
        stop.set()
        for job in self.jobs:
            job.join(timeout=60)
            check(not job.is_alive(), "a sender hangs")
        if self.rng.random() < VERIFIED_CRASHES:
            self.verify_what_the_crash_left()
        started = time.monotonic()
        self.server.start()
        self.restart_seconds.append(time.monotonic() - started)
        check(not self.problems, f"unexpected answers: {self.problems[:5]}")
        self.check_all()
        self.counts["acknowledgements"] = sum(len(study.acknowledged) for study in self.studies)
        self.log(f"cycle {cycle + 1}: {self.counts['acknowledgements']} acknowledged, "
                 f"{len(self.checked)} sessions archived")

    def finish(self):
        """Sends the rest, archives everything, and compares."""
        end = time.monotonic() + 120 + self.cycles
        for study in self.studies:
            while study.missing():
                check(time.monotonic() < end, f"{study.label} cannot be sent")
                if study.door == "cli" and self.known(study.label):
                    time.sleep(0.05)
                    continue
                self.send([study], self.rng, threading.Event())
                check(not self.problems, f"unexpected answers: {self.problems[:5]}")
        client = api.Api(self.server)
        while self.step(client) > 0:
            check(time.monotonic() < end, f"stuck: {self.prearchive(client)}")
            time.sleep(0.05)
        client.close()
        self.counts["acknowledgements"] = sum(len(study.acknowledged) for study in self.studies)
        self.leave_a_leftover()
        self.check_all()
        self.check_the_end()
        self.server.stop()
        self.check_leftovers()
        report = self.verify()
        check(report["unfinishedCount"] == 0, f"left unfinished: {report['unfinished']}")
        check(report["archivedFileCount"] == self.counts["objects archived"], f"narthex-verify saw others: {report}")
        check(report["stagedSessionCount"] == 0, f"staging is not empty: {report}")


    def leave_a_leftover(self):
        """What an ended archive operation could not remove, the next start removes."""
        if not self.archive_operation:
            return
        # The archive has the session a moment before its operation is over.
        self.server.narthex("operation", "wait", f"operations/{self.archive_operation}")
        self.server.kill()
        folder = self.server.data_dir / f"d/archive/P1/arc001/.incoming-{self.archive_operation}"
        folder.mkdir()
        (folder / "half.dcm").write_bytes(b"half")
        self.server.start()
        check(not folder.exists(), "the folder of an operation that is over was not removed")


class Kill9(unittest.TestCase):
    def test_no_acknowledged_object_is_lost_and_no_half_session_is_seen(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        Campaign(seed, CYCLES_IN_CI, log=lambda text: print(text, file=sys.stderr, flush=True)).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0, help="how often to kill; without it: the unit test")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0:
        unittest.main(argv=sys.argv[:1])
    Campaign(arguments.seed, arguments.cycles, log=lambda text: print(text, flush=True)).run()


if __name__ == "__main__":
    main()
