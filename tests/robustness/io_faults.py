"""Breaks the N-th call of narthexd to the operating system on its files, while sessions are received, archived and merged.

    tests/robustness/io_faults.py --every [--seed N] [--kind KIND]   every N of each way, each door and of starts (all ways at once: 45 minutes)
    tests/robustness/io_faults.py --every --kind KIND --from dicom:46   goes on with a run that was ended there
    tests/robustness/io_faults.py --cycles 100 [--seed N]            so many, spread over all N
    tests/robustness/io_faults.py                                    a few of them, as a unit test (CI)

The files are those of the index (RocksDB's), of segments and of the archive: all below the data directory. A library that
is loaded before the C library (io_faults.cc) counts the calls of the program that is shipped, and breaks one a cycle:

    error     input/output error, once
    nospace   no space, once
    short     half a write, then no space
    full      from here on there is no space; when somebody was refused or waits, there is some again
    read      input/output error of a read, once
    broken    from here on whatever changes something fails; when somebody was refused or waits, the disk is well again

The same while a server starts that was killed amid its work. An operator does what docs/operations.md says and no more: he
starts a server again whose index waits for that, and builds a session again that is in ERROR. After each:

 1. what was acknowledged is sent by nobody again, and the archive holds all that was sent, with its digest (invariant 1);
 2. there is one session of the label, and nothing of it is left in the prearchive (invariants 2 and 3);
 3. the server is killed, narthex-verify finds no damage, and the next start serves the same.
"""

import argparse
import mmap
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import sql_faults
from kill9 import Violation, check
from sql_faults import DOORS, FILES, FIRST, Study

import external_postgres  # on the path since sql_faults
from harness import BIN, Server, phantom

KINDS = ("error", "nospace", "short", "full", "read", "broken")
WHERE = (*DOORS, "start")
CYCLES_IN_CI = 6
LIBRARY = BIN / "io_faults.so"
ATTENDS_EVERY_SECONDS = 0.7
WAITS_FOR_START = 'until="the server is restarted"'


class Faults:
    """The page that io_faults.cc reads (struct Control)."""

    FOLDER, STRUCK, SIZE = 32, 32 + 1024, 4096

    def __init__(self, folder):
        self.file = tempfile.NamedTemporaryFile(prefix="narthex-io-faults-")
        self.file.truncate(self.SIZE)
        os.chmod(self.file.name, 0o666)
        self.page = mmap.mmap(self.file.fileno(), self.SIZE)
        self.page[self.FOLDER:self.FOLDER + 1024] = str(folder).encode().ljust(1024, b"\0")
        self.kind = KINDS[0]

    @property
    def environment(self):
        return {"LD_PRELOAD": str(LIBRARY), "NARTHEX_IO_FAULTS": self.file.name}

    def arm(self, at, kind):
        """The `at`-th call from now on fails (0: calls are only counted)."""
        self.kind = kind
        self.page[self.STRUCK:] = bytes(self.SIZE - self.STRUCK)
        self.page[0:32] = struct.pack("=QQIIQ", 0, at, KINDS.index(kind), 0, 0)

    def heal(self):
        """Nothing fails any more; what was counted stays."""
        self.page[20:24] = struct.pack("=I", 0)
        self.page[8:16] = struct.pack("=Q", 0)

    @property
    def calls(self):
        return struct.unpack_from("=Q", self.page, 0)[0]

    @property
    def struck(self):
        """The call that failed, or an empty text."""
        return self.page[self.STRUCK:self.SIZE].split(b"\0")[0].decode(errors="replace")


class IoCampaign(sql_faults.Campaign):
    first = (WHERE[0], 1)  # of a run over every call

    def prepare(self):
        self.server = Server(flags=["--postgres", external_postgres.Cluster.get().new_database()])
        self.server.resends = True
        self.server.search_kills = False
        self.faults = Faults(self.server.data_dir / "d")
        self.server.environment = self.faults.environment
        self.log_seen = 0  # bytes of the server's log that an operator has read

    # ---- the operator

    def attend(self):
        """What an operator does when something was refused."""
        if self.server.process.poll() is not None:
            raise Violation(f"narthexd ended:\n{self.server.log_text()[-3000:]}")
        if self.faults.struck:
            self.faults.heal()
        log = self.server.log_text()
        if WAITS_FOR_START in log[self.log_seen:]:
            self.log_seen = len(log)
            self.restarted = True
            self.counts["restarts because of the index"] += 1
            self.server.process.terminate()
            check(self.server.process.wait(timeout=40) == 0, f"stopped with {self.server.process.returncode}")
            self.server.start()

    def ask(self, *arguments):
        self.restarted = False
        over = threading.Event()
        problems = []
        watching = threading.Thread(target=self.watch, args=(over, problems))
        watching.start()
        try:
            answer, good = super().ask(*arguments)
        finally:
            over.set()
            watching.join()
        check(not problems, problems)
        if not good:
            self.attend()
        return answer, good

    def may_be_lost(self, result):
        # It was connected when the operator stopped the server.
        return self.restarted

    def watch(self, over, problems):
        """Attends while a client waits for an operation that waits for the operator."""
        try:
            while not over.wait(ATTENDS_EVERY_SECONDS):
                self.attend()
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            problems.append(error)

    def send(self, door, study, *flags):
        before = len(study.missing())
        super().send(door, study, *flags)
        if study.missing() and before:
            self.attend()

    def mended(self, row):
        if row["state"] == "ARCHIVING":
            self.attend()  # nobody may be told: its operation's end could not be written either
        if row["state"] != "ERROR":
            return row
        check(self.faults.struck and row["error"], f"in ERROR: {row}")
        self.attend()
        self.counts["sessions in ERROR, built again"] += 1
        self.ask("prearchive", "build", row["name"])
        return dict(row, state="BUILDING")

    # ---- the checks

    def look_again(self, door, study, struck):
        """Kills the server, has its data verified, starts it, and looks at the session once more."""
        self.server.kill()
        self.server.log.close()
        self.server.check_data()
        self.server.start()
        self.log_seen = len(self.server.log_text())
        self.check_session(door, study)
        self.counts["objects archived"] -= FILES  # counted twice

    # ---- the run

    def cycle(self, door, at, kind):
        self.number += 1
        study = Study(self.sent.name, f"{kind}{door}{at}x{self.number}", self.rng.randrange(1 << 30))
        before = dict(self.counts)
        begin = time.monotonic()
        self.faults.arm(at, kind)
        try:
            self.take(door, study)
            study.wanted = range(FILES)
            self.take(door, study, "--conflict", "append")
            calls, struck = self.faults.calls, self.faults.struck
            self.faults.heal()  # a call that was not reached shall not fail in the next start
            self.attend()
            self.check_session(door, study)
            if at:
                self.look_again(door, study, struck)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            raise Violation(f"call {at} {kind} by {door} ({self.faults.struck}): {error}") from error
        if at == 0:
            return calls
        self.log(f"{door}, call {at}, {kind}: {struck or 'not reached'}, {time.monotonic() - begin:.1f} s")
        if struck:
            self.counts[kind] += 1
            self.counts["cycles that no client noticed"] += all(
                self.counts[name] == before.get(name, 0) for name in ("commands that failed", "C-STOREs refused"))
        return bool(struck)

    def start_cycle(self, at, kind):
        """A server that was killed while it archived one session and received another starts, and call `at` fails."""
        self.number += 1
        archiving = Study(self.sent.name, f"start{kind}{at}x{self.number}", self.rng.randrange(1 << 30))
        self.number += 1
        receiving = Study(self.sent.name, f"start{kind}{at}x{self.number}", self.rng.randrange(1 << 30))
        self.faults.arm(0, kind)
        for study in (archiving, receiving):
            self.send("grpc", study, "--no-commit")
        row, = self.prearchive(archiving)
        self.ask("prearchive", "build", row["name"])
        self.ask("prearchive", "archive", row["name"], "--no-wait")
        time.sleep(self.rng.random() * 0.05)
        self.server.kill()
        self.server.log.close()
        self.faults.arm(at, kind)
        try:
            self.start_or_say_why(at)
            calls, struck = self.faults.calls, self.faults.struck
            if not struck:
                self.faults.heal()
            for study in (archiving, receiving):
                self.take("grpc", study)
                study.wanted = range(FILES)
                self.take("grpc", study, "--conflict", "append")
                self.attend()
                self.check_session("grpc", study)
            if at:
                self.look_again("grpc", receiving, struck)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            raise Violation(f"start, call {at} {kind} ({self.faults.struck}): {error}") from error
        if at:
            self.log(f"start, call {at}, {kind}: {struck or 'not reached'}")
        if at and struck:
            self.counts[f"start, {kind}"] += 1
        return calls if at == 0 else bool(struck)

    def start_or_say_why(self, at):
        try:
            self.server.start()
            return
        except AssertionError:
            code = self.server.process.poll()
            check(at and self.faults.struck, f"does not start: {self.server.log_text()[-3000:]}")
            check(code is not None and code > 0, f"the start ended with {code}: {self.server.log_text()[-3000:]}")
            self.counts["starts that were refused"] += 1
        self.server.log.close()
        self.faults.heal()
        self.server.check_data()
        self.server.start()

    def every(self, kinds=KINDS):
        for kind in kinds:
            for where in WHERE[WHERE.index(self.first[0]):]:
                first = at = self.first[1] if where == self.first[0] else 1
                while self.start_cycle(at, kind) if where == "start" else self.cycle(where, at, kind):
                    at += 1
                self.log(f"{kind}, {where}: each of the calls {first} to {at - 1}")

    def some(self, cycles):
        """So many cycles, spread evenly over the calls of a cycle that nothing disturbs; the ways and doors in turn. And a
        third as many starts."""
        calls = {"error": self.cycle("grpc", 0, "error"), "read": self.cycle("dicom", 0, "read")}
        of_starts = {kind: self.start_cycle(0, kind) for kind in ("error", "read")}
        self.log(f"calls of a cycle: {calls}; of a start: {of_starts}")
        each = max(1, cycles // len(KINDS))
        first = self.rng.randrange(len(DOORS))
        for number in range(each):
            for place, kind in enumerate(KINDS):
                step = calls["read" if kind == "read" else "error"] / each
                # The last calls are not always reached.
                at = 1 + int(step * (number + self.rng.random() * 0.95))
                self.cycle(DOORS[(first + place + number) % len(DOORS)], at, kind)
        for kind in self.rng.sample(KINDS * each, max(1, cycles // 3)):
            self.start_cycle(1 + self.rng.randrange(of_starts["read" if kind == "read" else "error"]), kind)
        check(sum(self.counts[kind] for kind in KINDS) >= cycles - 2, f"too few calls failed: {dict(self.counts)}")

    def run(self, cycles, kinds=KINDS):
        """0 cycles: every call of these kinds."""
        check(LIBRARY.exists(), f"{LIBRARY} is missing: build the target io_faults")
        self.log(f"io_faults: seed {self.seed}, {cycles or 'all'} cycles")
        begin = time.monotonic()
        self.faults.arm(0, "error")
        self.server.start()
        self.server.grpc_listen = self.server.address  # a client that waits finds it again
        try:
            self.server.narthex("project", "create", "P1")
            # What is built before all of it was sent would be archived without the rest.
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "36000")
            if cycles:
                self.some(cycles)
            else:
                self.every(kinds)
            self.finish()
        except BaseException:
            self.log(f"io_faults: FAILED (seed {self.seed}); data in {self.server.data_dir}; {dict(self.counts)}")
            if self.server.process.poll() is None:
                self.server.kill()
            raise
        finally:
            self.sent.cleanup()
        subprocess.run(["rm", "-rf", self.server.data_dir], check=True)
        self.log(f"io_faults: passed in {time.monotonic() - begin:.0f} s; {dict(self.counts)}; told: {dict(self.reasons)}")


class IoFaults(unittest.TestCase):
    def test_nothing_is_lost_when_a_call_on_a_file_fails(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        IoCampaign(seed, log=lambda text: print(text, file=sys.stderr, flush=True)).run(CYCLES_IN_CI)

    def test_a_build_ends_whichever_of_its_writes_finds_no_space(self):
        with Server(flags=["--postgres", external_postgres.Cluster.get().new_database()]) as server, \
                tempfile.TemporaryDirectory() as folder:
            # The first start was undisturbed; from here on calls on the index are counted.
            server.stop()
            faults = Faults(server.data_dir / "d/staging/index")
            server.environment = faults.environment
            faults.arm(0, "short")
            server.start()
            server.narthex("project", "create", "P1")
            number, struck = 0, ["none yet"]
            while struck[-1]:
                number += 1
                label = f"B{number}"
                phantom(pathlib.Path(folder) / label, series=1, slices=2, size=32, session=label, seed=number)
                server.narthex("upload", pathlib.Path(folder) / label, "--project", "P1", "--no-commit")
                row, = [row for row in server.prearchive() if row["label"] == label]
                faults.arm(number, "short")
                seen = len(server.log_text())
                server.run("prearchive", "build", row["name"], "--no-wait")
                restarted = False

                def ready():
                    nonlocal restarted
                    if not restarted and WAITS_FOR_START in server.log_text()[seen:]:  # the call was a sync
                        restarted = True
                        server.stop()
                        server.start()
                    state = server.narthex("prearchive", "show", row["name"])["state"]
                    if state in ("RECEIVING", "ERROR"):  # whoever was refused asks again
                        server.run("prearchive", "build", row["name"], "--no-wait")
                    return state == "READY"

                server.wait_for(ready, f"the build whose call {number} failed, {faults.struck}", timeout=20)
                struck.append(faults.struck)
                faults.heal()
            self.assertGreater(len(struck), 4, struck)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0, help="how many calls to break; without it: the unit test")
    parser.add_argument("--every", action="store_true", help="every call, each way and by each door")
    parser.add_argument("--kind", choices=KINDS, action="append", help="with --every: only these ways")
    parser.add_argument("--from", dest="first", default=f"{WHERE[0]}:1", help="with --every: the call to begin with")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0 and not arguments.every:
        unittest.main(argv=sys.argv[:1])
    campaign = IoCampaign(arguments.seed, log=lambda text: print(text, flush=True))
    where, at = arguments.first.split(":")
    campaign.first = (where, int(at))
    campaign.run(0 if arguments.every else arguments.cycles, tuple(arguments.kind or KINDS))


if __name__ == "__main__":
    main()
