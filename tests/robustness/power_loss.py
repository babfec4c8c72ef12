"""Takes the power from a whole server, PostgreSQL included, on a real file system: everything that was not synced is gone.

    tests/robustness/power_loss.py --cycles 100 [--seed N]     a campaign
    tests/robustness/power_loss.py                             a few cycles, as a unit test (CI)

As kill9.py, whose load and checks these are, but the server's data lie on an ext4 of their own, and a crash is: all
processes are stopped, what the file system has given to its disk is copied, and the copy is mounted in its place. The file
system writes by itself as rarely as it can (commit=600), so nearly all that was not synced is lost.

Not shown by it: a directory that somebody forgot to sync, as ext4 writes all its metadata whenever anything is synced. That
is what the in-memory twin of storage/fs is for.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

import api
import mounts
from kill9 import VERIFIED_CRASHES, Campaign, Violation, check

CYCLES_IN_CI = 4
DISK_MIB = 1500


def family(pid):
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


class PowerCampaign(Campaign):
    def __init__(self, seed, cycles, log=print):
        super().__init__(seed, cycles, log)
        os.rmdir(self.server.data_dir)
        self.disk = mounts.Disk(DISK_MIB, "loop,commit=600")
        self.server.data_dir = self.disk.path / "server"
        self.server.data_dir.mkdir()

    def pull_the_plug(self):
        """Returns a copy of the disk as it was at one moment, and ends everything."""
        while True:
            processes = family(self.server.process.pid)
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            if family(self.server.process.pid) == processes:  # none was born meanwhile
                break
        copy = self.disk.snapshot()
        for process in reversed(processes):
            os.kill(process, signal.SIGKILL)
        self.server.process.wait()
        self.server.log.close()
        return copy

    def leave_a_leftover(self):
        """Not here: the index may have lost that an operation ended, and what an unknown one left is kept."""

    def cycle(self, cycle):
        stop = threading.Event()
        self.jobs = self.load(stop, cycle)
        time.sleep(self.rng.choice([self.rng.uniform(0, 0.5), self.rng.uniform(0.2, 4)]))
        if self.server.process.poll() is not None:
            raise Violation(f"narthexd ended by itself:\n{self.server.log_text()[-3000:]}")
        copy = self.pull_the_plug()
        self.counts["power cuts"] += 1
        stop.set()
        for job in self.jobs:
            job.join(timeout=60)
            check(not job.is_alive(), "a sender hangs")
        self.disk.become(copy)
        if self.rng.random() < VERIFIED_CRASHES:
            self.verify_what_the_crash_left()
        started = time.monotonic()
        self.server.start()
        self.restart_seconds.append(time.monotonic() - started)
        check(not self.problems, f"unexpected answers: {self.problems[:5]}")
        self.check_all()
        self.counts["acknowledgements"] = sum(len(study.acknowledged) for study in self.studies)
        self.log(f"cut {cycle + 1}: {self.counts['acknowledgements']} acknowledged, "
                 f"{len(self.checked)} sessions archived")


def run(seed, cycles, log):
    campaign = PowerCampaign(seed, cycles, log)
    try:
        campaign.run()
    finally:
        if campaign.server.process and campaign.server.process.poll() is None:
            campaign.server.kill()
        campaign.disk.remove()


class PowerLoss(unittest.TestCase):
    def test_nothing_acknowledged_is_lost_with_the_power(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        run(seed, CYCLES_IN_CI, lambda text: print(text, file=sys.stderr, flush=True))


def main():
    mounts.enter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0:
        unittest.main(argv=sys.argv[:1])
    run(arguments.seed, arguments.cycles, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
