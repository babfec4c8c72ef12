"""Cuts a backup, and a restore, at random moments: by kill -9 of the server, and by taking the power from the machine.

    tests/robustness/backup_cuts.py --cycles 50 [--seed N]     a campaign: so many of each of the four
    tests/robustness/backup_cuts.py                            one or two of each, as a unit test (CI)

A server with archived and staged sessions makes a backup while it receives. After a cut

 1. the server starts, and has all that was acknowledged; narthex-verify finds no damage before it does;
 2. a backup whose command had said so is there, and with a `backup.json` it is complete: it is restored, verified, and holds
    what was acknowledged before it began. Without one it is refused by --restore-from, and its name is taken until somebody
    removes it.

And a restore that was cut is either recognised when narthexd starts again, which says that the folder must be removed, or it
had not begun, or it had ended. What an operator does then (docs/operations.md) ends with a server that has everything, and no
start ever serves a part.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import mounts
from kill9 import Violation, check
from power_loss import family

from harness import BIN, Server, phantom, sha256  # on the path since kill9

DISK_MIB = 1500
KILL, POWER = "kill -9", "power cut"
CYCLES_IN_CI = 1
CONFIGURATION = 78  # exit code


class Cuts:
    def __init__(self, seed, log=print):
        self.rng = random.Random(seed)
        self.seed = seed
        self.log = log
        self.counts = collections.Counter()
        self.disk = mounts.Disk(DISK_MIB, "loop,commit=600")
        self.sent = pathlib.Path(tempfile.mkdtemp(prefix="narthex-cuts-"))
        self.kept = pathlib.Path(tempfile.mkdtemp(prefix="narthex-kept-"))  # another machine's disk
        self.kept.chmod(0o755)
        self.server = self.server_in("server")
        self.server.data_dir.mkdir()
        self.archived = {}  # label -> sorted digests
        self.staged = {}  # label -> number of objects
        self.backup_seconds = 1.0
        self.restore_seconds = 3.0

    def server_in(self, name, *flags):
        server = Server(data_dir=self.disk.path / name, flags=flags)
        server.resends = True
        server.search_kills = False
        return server

    # ---- cutting

    def cut(self, how, process):
        self.counts[how] += 1
        if how == KILL:
            process.kill()
            process.wait()
            return
        while True:
            processes = family(process.pid)
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            if family(process.pid) == processes:  # none was born meanwhile
                break
        copy = self.disk.snapshot()
        for pid in reversed(processes):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        self.disk.become(copy)

    # ---- what must be there

    def send(self, server, label, archive):
        files = phantom(self.sent / label, series=2, slices=6, size=64, session=label, seed=self.rng.randrange(1 << 30))
        flags = ("--archive",) if archive else ("--no-commit",)
        result = server.run("upload", self.sent / label, "--project", "P1", "--session", label, *flags)
        if result.returncode != 0:
            return
        if archive:
            self.archived[label] = sorted(map(sha256, files))
        else:
            self.staged[label] = len(files)

    def check_there(self, server, archived, staged):
        # What was interrupted goes on first.
        server.wait_for(lambda: not [row for row in server.prearchive() if row["state"] in ("BUILDING", "ARCHIVING")],
                        "what was interrupted")
        labels = {session["label"] for session in server.sessions()}
        for label, digests in archived.items():
            check(label in labels, f"lost the archived session {label}")
            files = server.files(f"P1/{label}")
            check(sorted(file["sha256"] for file in files) == digests, f"{label}: other files")
        rows = {row["label"]: row["objectCount"] for row in server.prearchive()}
        for label, count in staged.items():
            check(rows.get(label) == count, f"{label}: {rows.get(label)} objects staged of {count}")

    def refusal(self, data, *flags):
        """What narthexd says when it must refuse to start."""
        result = subprocess.run([BIN / "narthexd", "--data-dir", data, "--dicom-listen", "off", "--grpc-listen", "127.0.0.1:0",
                                 *map(str, flags)], capture_output=True, text=True, timeout=60)
        check(result.returncode == CONFIGURATION, f"exit {result.returncode}: {result.stderr[-2000:]}")
        return result.stderr

    def restore(self, name, backup):
        """A server with the backup's content; it is stopped and verified by whoever uses it."""
        server = self.server_in(name, "--restore-from", str(backup))
        server.data_dir.mkdir(exist_ok=True)
        begin = time.monotonic()
        server.start()
        self.restore_seconds = time.monotonic() - begin
        return server

    def remove(self, server):
        server.stop()
        shutil.rmtree(server.data_dir)

    @staticmethod
    def remove_folder(folder):
        """PostgreSQL, which a killed narthexd leaves, still shuts down in it."""
        end = time.monotonic() + 30
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            check(time.monotonic() < end, f"{folder} cannot be removed")

    # ---- backups

    def cut_a_backup(self, how, number):
        name = f"b{number}"
        archived, staged = dict(self.archived), dict(self.staged)
        answers = []
        work = [threading.Thread(target=lambda: answers.append(self.server.run("server", "backup", name, timeout=60))),
                threading.Thread(target=self.send, args=(self.server, f"DURING{number}", True))]
        for thread in work:
            thread.start()
        time.sleep(self.rng.random() * self.backup_seconds * 1.3)
        self.cut(how, self.server.process)
        work[0].join(timeout=60)
        self.server.log.close()
        self.server.check_data()
        self.server.start()
        work[1].join(timeout=60)  # it goes on by itself
        check(not any(thread.is_alive() for thread in work), "a client hangs")
        self.check_there(self.server, self.archived, self.staged)
        folder = self.server.data_dir / "d/backup" / name
        said = answers[0].returncode == 0
        complete = (folder / "backup.json").exists()
        self.log(f"{how} of backup {number}: {'complete' if complete else 'incomplete' if folder.exists() else 'not begun'}")
        check(complete or not said, f"{name} was made, and is not there")
        if complete:
            self.counts["backups complete"] += 1
            other = self.restore("other", folder)
            self.check_there(other, archived, staged)
            self.remove(other)
        elif folder.exists():
            self.counts["backups incomplete"] += 1
            check("no backup.json" in self.refusal(self.disk.path / "fresh", "--restore-from", folder), "not recognised")
            again = self.server.run("server", "backup", name)
            check("BACKUP_EXISTS" in again.stderr and "was not completed" in again.stderr, f"not told: {again.stderr}")
        if folder.exists():
            shutil.rmtree(folder)  # as docs/operations.md says

    # ---- restores

    def cut_a_restore(self, how, number):
        data = self.disk.path / "restored"
        data.mkdir()
        log = open(self.sent / "restore.log", "ab")
        process = subprocess.Popen([BIN / "narthexd", "--data-dir", data / "d", "--dicom-listen", "off", "--grpc-listen",
                                    "127.0.0.1:0", "--restore-from", self.kept / "backup"], stdout=log, stderr=log)
        time.sleep(self.rng.random() * self.restore_seconds * 1.2)
        check(process.poll() is None, f"the restore failed: {(self.sent / 'restore.log').read_text()[-2000:]}")
        self.cut(how, process)
        log.close()
        begun = (data / "d/restoring").exists()
        ended = not begun and any((data / "d/staging").glob("index/CURRENT"))
        self.log(f"{how} of restore {number}: {'under way' if begun else 'ended' if ended else 'not begun'}")
        if begun:
            self.counts["restores under way"] += 1
            for flags in ((), ("--restore-from", self.kept / "backup")):
                said = self.refusal(data / "d", *flags)
                check("was interrupted" in said and "remove the folder" in said, f"does not say what to do: {said}")
            self.remove_folder(data / "d")
        if ended:
            self.counts["restores ended"] += 1
            check("is not empty" in self.refusal(data / "d", "--restore-from", self.kept / "backup"), "restored over it")
            server = self.server_in("restored")
            server.start()
        else:
            server = self.restore("restored", self.kept / "backup")
        self.check_there(server, self.archived_then, self.staged_then)
        self.remove(server)

    # ---- the run

    def run(self, cycles):
        self.log(f"backup_cuts: seed {self.seed}, {cycles} of each")
        begin = time.monotonic()
        try:
            self.server.start()
            self.server.grpc_listen = self.server.address  # a client that waits finds it again
            self.server.narthex("project", "create", "P1")
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "36000")
            for number in range(3):
                self.send(self.server, f"FILED{number}", True)
            self.send(self.server, "STAGED", False)
            check(len(self.archived) == 3 and self.staged, "cannot begin")
            started = time.monotonic()
            made = self.server.narthex("server", "backup", "whole")["path"]
            self.backup_seconds = time.monotonic() - started
            self.archived_then, self.staged_then = dict(self.archived), dict(self.staged)
            shutil.copytree(made, self.kept / "backup")
            shutil.rmtree(made)
            for number in range(cycles):
                for how in (KILL, POWER):
                    self.cut_a_backup(how, f"{number}{how[0]}")
            self.server.stop()
            for number in range(cycles):
                for how in (KILL, POWER):
                    self.cut_a_restore(how, number)
        except BaseException:
            self.log(f"backup_cuts: FAILED (seed {self.seed}); {dict(self.counts)}\n{self.server.log_text()[-3000:]}")
            raise
        finally:
            if self.server.process and self.server.process.poll() is None:
                self.server.kill()
            self.disk.remove()
            shutil.rmtree(self.sent, ignore_errors=True)
            shutil.rmtree(self.kept, ignore_errors=True)
        self.log(f"backup_cuts: passed in {time.monotonic() - begin:.0f} s; {dict(self.counts)}")


class BackupCuts(unittest.TestCase):
    def test_a_cut_backup_or_restore_is_whole_or_known_for_what_it_is(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        Cuts(seed, lambda text: print(text, file=sys.stderr, flush=True)).run(CYCLES_IN_CI)


def main():
    mounts.enter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0, help="cuts of each of the four; without it: the unit test")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0:
        unittest.main(argv=sys.argv[:1])
    Cuts(arguments.seed, lambda text: print(text, flush=True)).run(arguments.cycles)


if __name__ == "__main__":
    main()
