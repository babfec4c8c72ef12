"""Keeps a server busy through all doors for a long time, and looks whether memory, descriptors and threads stay flat.

    tests/robustness/soak.py --seconds 3600 [--seed N]

An hour writes some gigabytes.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Server, phantom  # noqa: E402

SECONDS_IN_TEST = 60
# Beyond what the first third needed (caches fill, the database's pool opens connections).
MEMORY_GROWTH = 1.25
MEMORY_SLACK_KIB = 96 << 10
DESCRIPTOR_SLACK = 40


class Soak:
    def __init__(self, seconds, seed, log):
        self.seconds = seconds
        self.rng = random.Random(seed)
        self.seed = seed
        self.log = log
        self.sent = pathlib.Path(tempfile.mkdtemp(prefix="narthex-soak-"))
        self.server = Server()
        self.server.resends = True
        self.server.verify_seconds = 200 + seconds
        self.problems = []
        self.sessions = 0
        self.stop = threading.Event()

    def sample(self):
        process = pathlib.Path(f"/proc/{self.server.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
        return (int(status["VmRSS"].split()[0]), len(os.listdir(process / "fd")), int(status["Threads"]))

    def sender(self, number):
        rng = random.Random(self.rng.random())
        count = 0
        while not self.stop.is_set():
            label = f"L{number}N{count}"
            folder = self.sent / label
            phantom(folder, session=label, subject=f"S{number}", slices=rng.randint(3, 30), size=rng.choice([64, 128, 256]),
                    seed=rng.randrange(1 << 30))
            if number % 2:
                result = self.server.run("upload", folder, "--project", "P1", "--archive")
                if result.returncode != 0:
                    self.problems.append(f"{label}: {result.stderr[-500:]}")
            else:
                self.server.storescu("--to", "+sd", "+r", folder)
                for row in self.server.prearchive("--project", "P1"):
                    if row["label"] == label:
                        self.server.narthex("prearchive", "build", row["name"], code=None)
                        self.server.narthex("prearchive", "archive", row["name"], code=None)
            shutil.rmtree(folder)
            count += 1
            self.sessions += 1

    def run(self):
        self.log(f"soak: seed {self.seed}, {self.seconds} s")
        samples = []
        with self.server:
            self.server.narthex("project", "create", "P1")
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "3600")
            threads = [threading.Thread(target=self.guarded, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + self.seconds
            while time.monotonic() < end and not self.problems:
                time.sleep(min(5, self.seconds / 30))
                samples.append(self.sample())
                if len(samples) % 60 == 0:
                    self.log(f"soak: {self.sessions} sessions; KiB, descriptors, threads: {samples[-1]}")
            self.stop.set()
            for thread in threads:
                thread.join(timeout=300)
            archived = len(self.server.sessions())
        shutil.rmtree(self.sent, ignore_errors=True)
        if self.problems:
            raise AssertionError(f"unexpected answers: {self.problems[:3]}")
        third = max(1, len(samples) // 3)
        first, last = samples[:third], samples[-third:]
        peaks = [[max(sample[i] for sample in part) for i in range(3)] for part in (first, last)]
        self.log(f"soak: {self.sessions} sessions, {archived} archived; peaks of the first and last third (KiB, descriptors, "
                 f"threads): {peaks[0]}, {peaks[1]}")
        if archived == 0:
            raise AssertionError("nothing was archived")
        if peaks[1][0] > peaks[0][0] * MEMORY_GROWTH + MEMORY_SLACK_KIB:
            raise AssertionError(f"memory grew from {peaks[0][0]} to {peaks[1][0]} KiB")
        if peaks[1][1] > peaks[0][1] + DESCRIPTOR_SLACK or peaks[1][2] > peaks[0][2] + DESCRIPTOR_SLACK:
            raise AssertionError(f"descriptors or threads grew: {peaks}")

    def guarded(self, number):
        try:
            self.sender(number)
        except Exception as error:
            self.problems.append(repr(error))


class SoakTest(unittest.TestCase):
    def test_memory_descriptors_and_threads_stay_flat(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        Soak(SECONDS_IN_TEST, seed, lambda text: print(text, file=sys.stderr, flush=True)).run()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.seconds == 0:
        unittest.main(argv=sys.argv[:1])
    Soak(arguments.seconds, arguments.seed, lambda text: print(text, flush=True)).run()


if __name__ == "__main__":
    main()
