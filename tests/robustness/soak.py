"""Keeps a server busy for a long time through all doors (C-STORE, upload, import of an archive, inbox), with watches and downloads,
and looks whether memory, descriptors and threads stay flat.

    tests/robustness/soak.py --seconds 3600 [--seed N]

An hour writes some gigabytes.
"""

import argparse
import contextlib
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

import grpc  # noqa: E402

from harness import Server, phantom  # noqa: E402

# What the senders over gRPC do with their sessions in turn.
DOORS = ("upload", "import", "inbox")
WATCH = "/narthex.v1.PrearchiveService/WatchPrearchiveSessions"

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
        self.done = dict.fromkeys(("store", *DOORS, "watch", "download"), 0)
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
            with self.watch() if count % len(self.done) == number else contextlib.nullcontext():
                if number % 2:
                    self.send(label, folder, DOORS[(number // 2 + count) % len(DOORS)])
                else:
                    self.server.storescu("--to", "+sd", "+r", folder)
                    for row in self.server.prearchive("--project", "P1"):
                        if row["label"] == label:
                            self.server.narthex("prearchive", "build", row["name"], code=None)
                            self.server.narthex("prearchive", "archive", row["name"], code=None)
                    self.done["store"] += 1
            shutil.rmtree(folder)
            count += 1
            self.sessions += 1

    def send(self, label, folder, door):
        """By one of DOORS; every other one that is archived then is downloaded."""
        command = [door, folder, "--project", "P1", "--archive"]
        if door == "import":
            command[1] = shutil.make_archive(folder, "zip", folder)
        elif door == "inbox":
            inbox = self.server.data_dir / "d/inbox/P1" / label
            shutil.copytree(folder, inbox)
            command = ["inbox", "import", f"P1/{label}", "--project", "P1", "--delete-after", "--auto-archive", "auto"]
        result = self.server.run(*command)
        if result.returncode != 0:
            self.problems.append(f"{label} by {door}: {result.stderr[-500:]}")
            return
        self.done[door] += 1
        if door == "import":
            pathlib.Path(command[1]).unlink()
        if door != "inbox" and self.done[door] % 2:
            out = self.sent / f"{label}-read"
            self.server.narthex("session", "download", f"P1/{label}", "--out", out)
            count = [sum(path.is_file() for path in at.rglob("*.dcm")) for at in (folder, out)]
            if count[0] != count[1] or count[0] == 0:
                self.problems.append(f"{label}: {count[0]} images sent, {count[1]} downloaded")
            shutil.rmtree(out)
            self.done["download"] += 1

    @contextlib.contextmanager
    def watch(self):
        """Meanwhile; what happens must be seen."""
        with grpc.insecure_channel(self.server.address) as channel:
            call = channel.unary_stream(WATCH, request_serializer=bytes, response_deserializer=bytes)(
                b"", metadata=(("authorization", f"Bearer {self.server.token}"),), timeout=300)
            call.initial_metadata()  # it is let in
            yield
            next(call)
            call.cancel()
        self.done["watch"] += 1

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
                    self.log(f"soak: {self.sessions} sessions; KiB, descriptors, threads: {samples[-1]}; {self.done}")
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
        self.log(f"soak: {self.sessions} sessions, {archived} archived, {self.done}; peaks of the first and last third (KiB, "
                 f"descriptors, threads): {peaks[0]}, {peaks[1]}")
        if archived == 0 or not all(self.done.values()):
            raise AssertionError(f"nothing was archived, or a door was not used: {archived}, {self.done}")
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
