"""Lets the server die at every named place (base/crash_point.h), each time with an outside record of what was acknowledged.

    tests/robustness/crash_points.py --rounds 20 [--seed N]    every place so often, at its first, second... passing
    tests/robustness/crash_points.py                           every place once, as a unit test, and those of merges (CI)

Load and checks are those of kill9.py. A place that is not reached is a failure: the list is that of docs/durability.md.
"""

import argparse
import json
import os
import pathlib
import random
import re
import sys
import tempfile
import threading
import time
import unittest

import pydicom
from kill9 import VERIFIED_CRASHES, Campaign, check

from harness import Server, phantom, sha256  # on the path since kill9

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 40
# Not reached by the load of kill9.py. Merges are below; another program's tests reach the others.
ELSEWHERE = re.compile(r"^(merge|gateway|move|files)\.")


def all_places():
    """The names in the sources."""
    found = set()
    for folder in ("server", "storage"):
        for path in (ROOT / folder).rglob("*.cc"):
            found.update(re.findall(r'CrashPoint\("([\w.]+)"\)', path.read_text()))
    return found


def places():
    return sorted(name for name in all_places() if not ELSEWHERE.match(name))


def merge_places():
    return sorted(name for name in all_places() if name.startswith("merge."))


class PlacesCampaign(Campaign):
    def __init__(self, seed, rounds, log=print):
        self.plan = [(place, round + 1) for round in range(rounds) for place in places()]
        super().__init__(seed, len(self.plan), log)

    def start_armed(self, place, time_of):
        self.server.wrapper = ["env", f"NARTHEX_CRASH_POINT={place}:{time_of}"]
        try:
            self.server.start()
            return True
        except AssertionError:
            check(self.server.process.poll() == -9, f"{place}: {self.server.log_text()[-2000:]}")
            return False  # it died while it went on with what was interrupted before
        finally:
            self.server.wrapper = []

    def cycle(self, cycle):
        place, time_of = self.plan[cycle]
        time_of = self.rng.randint(1, time_of)
        self.server.kill()
        stop = threading.Event()
        if self.start_armed(place, time_of):
            end = time.monotonic() + PATIENCE_SECONDS
            number = 0
            while self.server.process.poll() is None:
                check(time.monotonic() < end, f"{place} was not reached {time_of} times")
                self.jobs = self.load(stop, f"{cycle}r{number}")
                number += 1
                while self.server.process.poll() is None and any(job.is_alive() for job in self.jobs[:-1]):
                    time.sleep(0.02)
                if self.server.process.poll() is None:
                    time.sleep(0.5)  # what was sent is built and archived
                stop.set()
                for job in self.jobs:
                    job.join(timeout=60)
                    check(not job.is_alive(), "a sender hangs")
                stop.clear()
        self.server.process.wait()
        self.counts[f"died at {place}"] += 1
        if self.rng.random() < VERIFIED_CRASHES:
            self.verify_what_the_crash_left()
        started = time.monotonic()
        self.server.start()
        self.restart_seconds.append(time.monotonic() - started)
        check(not self.problems, f"unexpected answers: {self.problems[:5]}")
        self.check_all()


class CrashPoints(unittest.TestCase):
    def test_nothing_acknowledged_is_lost_wherever_the_server_dies(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        PlacesCampaign(seed, 1, log=lambda text: print(text, file=sys.stderr, flush=True)).run()

    def test_the_places_are_documented(self):
        page = (ROOT / "docs/durability.md").read_text()
        for place in all_places():
            self.assertIn(f"`{place}`", page)


class CrashPointsOfMerges(unittest.TestCase):
    """A session goes into an archived one, of which it replaces a part, adds a part and leaves a part."""

    def crash_in_a_merge(self, server, folder, place):
        label = place.replace(".", "_")
        first = phantom(folder / "first", series=2, slices=4, session=label, seed=7)
        changed = phantom(folder / "changed", series=2, slices=4, session=label, seed=7)[2:]
        for path in changed:
            data_set = pydicom.dcmread(path)
            data_set.ImageComments = "changed"
            data_set.save_as(path)
        server.narthex("upload", *first[:-2], "--project", "P1", "--session", label, "--archive")
        server.narthex("upload", *changed, "--project", "P1", "--session", label, "--no-commit")
        name, = [row["name"] for row in server.prearchive("--project", "P1")]
        server.narthex("prearchive", "build", name)
        server.kill()
        server.wrapper = ["env", f"NARTHEX_CRASH_POINT={place}"]
        server.start()
        server.wrapper = []
        server.narthex("prearchive", "archive", name, "--conflict", "overwrite", "--no-wait", code=None)
        self.assertEqual(server.process.wait(timeout=PATIENCE_SECONDS), -9, f"{place} was not reached")
        return f"P1/{label}", sorted(map(sha256, first[:2] + changed))

    def test_a_merge_goes_on_wherever_the_server_dies(self):
        self.assertGreaterEqual(len(merge_places()), 3)
        with Server() as server, tempfile.TemporaryDirectory() as root:
            server.narthex("project", "create", "P1")
            for place in merge_places():
                with self.subTest(place):
                    folder = pathlib.Path(root) / place
                    reference, digests = self.crash_in_a_merge(server, folder, place)
                    server.check_data()
                    server.start()
                    server.wait_for(lambda: not server.prearchive("--project", "P1"), "the merge to go on")
                    filed = [file["sha256"] for file in server.files(reference) if file["format"] == "DICOM"]
                    self.assertEqual(sorted(filed), digests)
            # Nothing is left of what was interrupted.
            server.stop()
            report = json.loads(server.verify("--output", "json").stdout)
            self.assertEqual(report["unfinishedCount"], 0, report)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.rounds == 0:
        unittest.main(argv=sys.argv[:1])
    PlacesCampaign(arguments.seed, arguments.rounds, log=lambda text: print(text, flush=True)).run()


if __name__ == "__main__":
    main()
