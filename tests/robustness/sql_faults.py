"""Breaks the N-th call of narthexd to PostgreSQL, for every N, while sessions are received, archived and merged.

    tests/robustness/sql_faults.py --every [--seed N]      every N of each way and each door
    tests/robustness/sql_faults.py --cycles 100 [--seed N] so many, spread over all N
    tests/robustness/sql_faults.py                         a few of them, as a unit test (CI)

The server lives on through all of it. A proxy between it and PostgreSQL (postgres_proxy.py) breaks one call a cycle:

    lost      the connection is cut before PostgreSQL sees the call
    unknown   PostgreSQL carries the call out (a commit, too), and the connection is cut before it can say so
    away      as lost; every other connection is cut as well, and for a second there is no other

A cycle takes a session in (by `narthex upload --archive`, or by C-STORE, a build and an archive), and merges more of it into
the archived session. Whoever is refused must be told a reason of the catalogue, and asks again. Then:

 1. what was acknowledged is sent by nobody again, and the archive holds all that was sent, with its digest (invariant 1);
 2. there is one session of the label, and nothing of it is left in the prearchive (invariants 2 and 3);
 3. every operation has ended, and the audit trail's chain is whole;
 4. at the end narthex-verify finds neither damage nor interrupted work.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import pydicom  # noqa: E402

import external_postgres  # noqa: E402
from harness import ROOT, Server, phantom  # noqa: E402
from kill9 import Violation, check  # noqa: E402
from postgres_proxy import AWAY, LOST, UNKNOWN, Proxy, changes, socket_of  # noqa: E402
from senders import data_set, send_dicom  # noqa: E402

KINDS = (LOST, UNKNOWN, AWAY)
DOORS = ("grpc", "dicom")
CYCLES_IN_CI = 18
FIRST = 3  # so many files come first, the others are merged into them
FILES = 5
ATTEMPTS = 4  # of a client; one is broken
AUDITED_CYCLES = 10
REASONS = set(re.findall(r"^  ERROR_REASON_([A-Z0-9_]+) = ", (ROOT / "proto/narthex/v1/errors.proto").read_text(),
                         re.MULTILINE))


class Study:
    """What a cycle sends, in the form that senders.py takes, and what the server has said about it."""

    def __init__(self, root, label, seed):
        self.label = label
        self.folder = pathlib.Path(root) / label
        self.files = []
        for path in phantom(self.folder, series=1, slices=FILES, size=32, session=label, subject=f"{label}_S", seed=seed):
            data = path.read_bytes()
            self.files.append((path, pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID,
                               hashlib.sha256(data).hexdigest(), hashlib.sha256(data_set(data)).hexdigest()))
        self.acknowledged = set()
        self.wanted = range(FIRST)

    def acknowledge(self, index):
        self.acknowledged.add(index)

    def missing(self):
        return [index for index in self.wanted if index not in self.acknowledged]


class Campaign:
    def __init__(self, seed, log=print):
        self.rng = random.Random(seed)
        self.seed = seed
        self.log = log
        self.counts = collections.Counter()
        self.reasons = collections.Counter()  # what clients were told
        self.number = 0
        self.sent = tempfile.TemporaryDirectory(prefix="narthex-faults-")
        self.prepare()

    def prepare(self):
        """Makes what stands between the server and what it relies on, and the server."""
        cluster = external_postgres.Cluster.get()
        conninfo = dict(word.split("=") for word in cluster.new_database().split())
        self.proxy = Proxy(socket_of(cluster.folder))
        self.server = Server(flags=["--postgres", f"host=127.0.0.1 port={self.proxy.port} user={conninfo['user']} "
                                                  f"dbname={conninfo['dbname']} sslmode=disable gssencmode=disable"])
        self.server.resends = True
        self.server.search_kills = False

    # ---- the clients

    def ask(self, *arguments):
        """Runs a command once. Its JSON, and whether it went well; else it must have said why."""
        result = self.server.run(*arguments, timeout=60)
        text = result.stdout.strip()
        answer = json.loads(text) if text.startswith("{") else {}
        if result.returncode != 0:
            told = set(re.findall(r"\b[A-Z][A-Z0-9_]{4,}\b", result.stderr + result.stdout)) & REASONS
            said = told and (result.stderr.strip() or answer.get("failures") or
                             any(outcome.get("reason") for outcome in answer.get("outcomes", [])))
            check(said or self.may_be_lost(result), f"{arguments[:2]}: exit {result.returncode} without a reason: "
                                                    f"{result.stdout[-1000:]}\n{result.stderr[-1000:]}")
            self.counts["commands that failed"] += 1
            self.reasons.update(told)
        return answer, result.returncode == 0

    def may_be_lost(self, result):
        """Whether a command may fail without a reason of the catalogue."""
        return False

    def send(self, door, study, *flags):
        """Sends what is not acknowledged. Nobody sends again what is."""
        if door == "dicom":
            refused = []
            send_dicom(self.server, study, self.rng, refused)
            self.counts["C-STOREs refused"] += len(refused)
            return
        answer, _ = self.ask("upload", *(study.files[index][0] for index in study.missing()), "--project", "P1", *flags)
        paths = {str(study.files[index][0]): index for index in study.missing()}
        for outcome in answer.get("outcomes", []):
            if outcome["outcome"] in ("STORED", "DUPLICATE"):
                study.acknowledge(paths[outcome["path"]])

    def prearchive(self, study):
        answer, good = self.ask("prearchive", "list", "--project", "P1")
        return [row for row in answer.get("prearchiveSessions", []) if row["label"] == study.label] if good else None

    def take(self, door, study, *flags):
        """Takes the wanted files in and archives them, asking again where the cut kept it from an answer."""
        for attempt in range(ATTEMPTS):
            if not study.missing():
                break
            # Only the first asks for all at once; whoever was broken off goes step by step, as an operator would.
            self.send(door, study, *(("--archive",) if attempt == 0 and not flags else ("--no-commit",)))
        check(not study.missing(), f"{study.label}: cannot be sent: {sorted(study.acknowledged)}")
        end = time.monotonic() + 60
        failures = 0
        while True:
            rows = self.prearchive(study)
            if rows == []:
                return
            check(time.monotonic() < end, f"{study.label}: stuck: {rows}")
            failures += rows is None
            check(failures < ATTEMPTS, f"{study.label}: the list is refused again and again")
            for row in rows or []:
                check(len(rows) == 1, f"{study.label}: several sessions wait: {rows}")
                row = self.mended(row)
                check(row["state"] in ("RECEIVING", "BUILDING", "READY", "ARCHIVING"),
                      f"{study.label} is {row['state']}: {row['error']} {row['conflicts']}")
                if row["state"] == "RECEIVING":
                    self.ask("prearchive", "build", row["name"])
                elif row["state"] == "READY":
                    self.ask("prearchive", "archive", row["name"], *flags)
                else:
                    time.sleep(0.05)

    def mended(self, row):
        """A session's row, after an operator did what docs/operations.md says for its state."""
        return row

    # ---- the checks

    def check_session(self, door, study):
        session = self.server.narthex("session", "show", f"P1/{study.label}")
        files = self.server.files(session["name"])
        check(session["fileCount"] == len(files), f"{study.label}: {session['fileCount']} counted, {len(files)} listed")
        folder = self.server.data_dir / "d/archive/P1/arc001" / study.label
        got = []
        for file in files:
            data = (folder / file["path"]).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            check(digest == file["sha256"], f"{study.label}: {file['path']} is damaged")
            got.append(hashlib.sha256(data_set(data)).hexdigest() if door == "dicom" else digest)
        wanted = sorted(file[3 if door == "dicom" else 2] for file in study.files)
        check(sorted(got) == wanted, f"{study.label}: {len(got)} files, other bytes than the {len(wanted)} that were sent")
        self.counts["objects archived"] += len(got)

    def check_audit(self):
        for chain in self.audit_chains():
            check(chain["intact"], f"the audit trail: {chain}")
        operations = self.server.narthex("operation", "list").get("operations", [])
        check(all(operation.get("done") for operation in operations), "an operation is stuck")

    def audit_chains(self):
        result = self.server.run("server", "verify-audit")
        check(result.returncode == 0, f"verify-audit: {result.stdout}\n{result.stderr}")
        return [json.loads(line) for line in result.stdout.splitlines() if line.strip()]

    # ---- the run

    def cycle(self, door, at, kind):
        """Whether call number `at` was reached."""
        self.number += 1
        study = Study(self.sent.name, f"{kind or 'whole'}{door}{at}x{self.number}", self.rng.randrange(1 << 30))
        before = dict(self.counts)
        self.proxy.arm(at, kind)
        try:
            self.take(door, study)
            study.wanted = range(FILES)
            self.take(door, study, "--conflict", "append")
            calls = self.proxy.count
            struck = self.proxy.disarm()
            time.sleep(max(0.0, self.proxy.away_until - time.monotonic()))
            self.check_session(door, study)
            if self.number % AUDITED_CYCLES == 0:
                self.check_audit()
            if self.server.process.poll() is not None:
                raise Violation(f"narthexd ended:\n{self.server.log_text()[-3000:]}")
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            statements = [sql[:200] for sql in self.proxy.struck or []]
            raise Violation(f"call {at} {kind} by {door}: {error}\nstatements: {statements}") from error
        if at == 0:
            return calls
        if struck is not None:
            self.counts[kind] += 1
            self.counts[f"{kind}, of calls that change something"] += changes(struck)
            self.counts["cycles that no client noticed"] += all(
                self.counts[name] == before.get(name, 0) for name in ("commands that failed", "C-STOREs refused"))
        return struck is not None

    def every(self):
        for kind in KINDS:
            for door in DOORS:
                at = 1
                while self.cycle(door, at, kind):
                    at += 1
                self.log(f"{kind}, {door}: each of {at - 1} calls")

    def some(self, cycles):
        """So many cycles, spread evenly over the calls of a cycle that nothing disturbs; the ways and doors in turn."""
        pairs = [(kind, door) for kind in KINDS for door in DOORS]
        calls = {door: self.cycle(door, 0, None) for door in DOORS}
        self.log(f"calls of a cycle: {calls}")
        each = max(1, cycles // len(pairs))
        for number in range(each):
            for place, (kind, door) in enumerate(pairs):
                step = calls[door] / each
                at = 1 + int(step * number + self.rng.random() * step)
                self.cycle(door, min(at, calls[door]), kind)
        check(all(self.counts[kind] for kind in KINDS), f"not every way was tried: {dict(self.counts)}")

    def ends_of_merges(self):
        """The last calls of a cycle, the commit of its merge among them, carried out but not answered: what a merge did
        must not look to it like somebody else's change, for which it would take its files back."""
        calls = self.cycle("grpc", 0, None)
        for at in range(calls - 10, calls + 1):
            self.cycle("grpc", at, "unknown")
        check(self.counts["unknown, of calls that change something"] > 0, "no change was broken off")

    def run(self, cycles, these=None):
        """0 cycles: every call."""
        self.log(f"sql_faults: seed {self.seed}, {cycles or 'all'} cycles")
        begin = time.monotonic()
        self.server.start()
        try:
            self.server.narthex("project", "create", "P1")
            # What is built before all of it was sent would be archived without the rest.
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "36000")
            if these:
                these(self)
            elif cycles:
                self.some(cycles)
            else:
                self.every()
            self.finish()
        except BaseException:
            self.log(f"sql_faults: FAILED (seed {self.seed}); data in {self.server.data_dir}; {dict(self.counts)}")
            if self.server.process.poll() is None:
                self.server.kill()
            raise
        finally:
            self.proxy.stop()
            self.sent.cleanup()
        subprocess.run(["rm", "-rf", self.server.data_dir], check=True)
        self.log(f"sql_faults: passed in {time.monotonic() - begin:.0f} s; {dict(self.counts)}; told: {dict(self.reasons)}")

    def finish(self):
        self.check_audit()
        check(not self.server.prearchive(), "the prearchive is not empty")
        sessions = self.server.narthex("session", "search", "--page-size", "1000").get("sessions", [])
        labels = [session["label"] for session in sessions]
        check(len(labels) == len(set(labels)), "two sessions of one label")
        check(len(labels) == min(self.number, 1000), f"{len(labels)} sessions of {self.number}")
        self.counts["sessions archived"] = self.number
        self.server.stop()  # with narthex-verify
        report = json.loads(self.server.verify("--output", "json").stdout)
        check(report["unfinishedCount"] == 0, f"left unfinished: {report['unfinished']}")
        check(report["archivedFileCount"] == self.counts["objects archived"], f"narthex-verify saw others: {report}")


class SqlFaults(unittest.TestCase):
    def test_nothing_is_lost_when_a_call_to_postgres_is_lost_or_of_unknown_outcome(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        Campaign(seed, log=lambda text: print(text, file=sys.stderr, flush=True)).run(CYCLES_IN_CI)

    def test_a_merge_keeps_its_files_when_its_commit_is_of_unknown_outcome(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        log = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
        Campaign(seed, log=log).run(0, Campaign.ends_of_merges)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0, help="how many calls to break; without it: the unit test")
    parser.add_argument("--every", action="store_true", help="every call, each way and by each door")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0 and not arguments.every:
        unittest.main(argv=sys.argv[:1])
    Campaign(arguments.seed, log=lambda text: print(text, flush=True)).run(0 if arguments.every else arguments.cycles)


if __name__ == "__main__":
    main()
