"""Lets everything around the server die, stop and come back: PostgreSQL, the gateway, clients.

    tests/robustness/others_die.py --cycles 100 [--seed N]     a campaign
    tests/robustness/others_die.py                             a few cycles, as a unit test (CI)

The load and the checks are those of kill9.py; the server itself lives on. In turn:

    postgres   kill -9 of its main process: the server starts it again
    backend    kill -9 of one of its processes: it recovers by itself, every connection is lost, commits are of unknown outcome
    cut off    all of its processes are stopped for a while: nothing answers, nothing fails
    clients    kill -9 of whoever sends by DICOM or the command line
    gateway    kill -9 of a gateway of its own, and another one
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

import grpc

import api
from kill9 import BIN, Campaign, Violation, check
from power_loss import family

VICTIMS = ("postgres", "backend", "cut off", "clients", "gateway")


class OthersCampaign(Campaign):
    gateway = None

    def start_gateway(self):
        self.gateway = self.server.gateway()
        # Who sends by DICOM sends through it from now on.
        self.server.dicom_host, self.server.dicom_port = self.gateway.host, self.gateway.port

    def postmaster(self):
        return int((self.server.data_dir / "d/postgres/data/postmaster.pid").read_text().splitlines()[0])

    def signal(self, pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def strike(self, victim):
        if victim == "postgres":
            self.signal([self.postmaster()], signal.SIGKILL)
        elif victim == "backend":
            below = family(self.postmaster())[1:]
            backends = [pid for pid in below if self.is_backend(pid)] or below
            self.signal([self.rng.choice(backends)], signal.SIGKILL)
        elif victim == "cut off":
            stopped = family(self.postmaster())
            self.signal(stopped, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.2, 2))
            self.signal(stopped, signal.SIGCONT)
        elif victim == "clients":
            mine = [pid for pid in family(os.getpid())[1:] if pid not in family(self.server.process.pid)
                    and pid != self.gateway.pid]
            self.signal([pid for pid in mine if self.name_of(pid) in ("storescu", "narthex")], signal.SIGKILL)
        else:
            self.gateway.kill()
            self.gateway.wait()
            self.start_gateway()

    @staticmethod
    def name_of(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return ""

    @staticmethod
    def is_backend(pid):
        try:
            return b"narthex narthex" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def file(self, stop, rng):
        while not stop.is_set():  # an error ends only one look
            super().file(stop, rng)
            time.sleep(0.1)

    def cycle(self, cycle):
        if self.gateway is None:
            self.start_gateway()
        victim = VICTIMS[cycle % len(VICTIMS)]
        stop = threading.Event()
        self.jobs = self.load(stop, cycle)
        time.sleep(self.rng.uniform(0, 1.5))
        self.strike(victim)
        self.counts[victim] += 1
        time.sleep(0.2)
        stop.set()
        for job in self.jobs:
            job.join(timeout=90)
            check(not job.is_alive(), f"{victim}: a sender hangs")
        if self.server.process.poll() is not None:
            raise Violation(f"narthexd ended after {victim}:\n{self.server.log_text()[-3000:]}")
        self.await_answer(victim)
        # What the victim's end kept senders from is no problem; that it came as a refusal of the object would be.
        self.problems = [problem for problem in self.problems if "DATABASE" not in problem and "UNAUTHENTICATED" not in problem]
        check(not self.problems, f"{victim}: unexpected answers: {self.problems[:5]}")
        self.check_all()
        self.counts["acknowledgements"] = sum(len(study.acknowledged) for study in self.studies)
        self.log(f"cycle {cycle + 1} ({victim}): {self.counts['acknowledgements']} acknowledged")

    def await_answer(self, victim):
        end = time.monotonic() + 60
        while True:
            client = api.Api(self.server)
            try:
                self.archived(client)
                return
            except grpc.RpcError as error:
                check(time.monotonic() < end, f"after {victim} nothing is answered: {error.details()}")
                time.sleep(0.2)
            finally:
                client.close()

    def finish(self):
        self.restart_seconds.append(0)
        super().finish()


def run(seed, cycles, log):
    campaign = OthersCampaign(seed, cycles, log)
    try:
        campaign.run()
    finally:
        if campaign.gateway:
            campaign.gateway.kill()


class OthersDie(unittest.TestCase):
    def test_nothing_acknowledged_is_lost_when_others_die(self):
        seed = int(os.environ.get("NARTHEX_SEED", random.randrange(1 << 30)))
        run(seed, len(VICTIMS), lambda text: print(text, file=sys.stderr, flush=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    if arguments.cycles == 0:
        unittest.main(argv=sys.argv[:1])
    run(arguments.seed, arguments.cycles, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
