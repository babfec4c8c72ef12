"""`narthex prearchive watch`: a watcher that loses the server, stopped or killed, misses nothing of what comes through either
door; and its live table fits the terminal."""

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import threading
import unittest

from harness import BIN, Server, needs_shared, shared_folder


class Terminal:
    """The client on a terminal of this size; what it shows."""

    def __init__(self, server, columns, rows, *arguments):
        environment = dict(os.environ, NARTHEX_SERVER=server.address, NARTHEX_TOKEN=server.token, TERM="xterm")
        self.server = server
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen([BIN / "narthex", *arguments], env=environment, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)
        self.bytes = b""

    def screen(self):
        """The lines of the last complete drawing."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.bytes += os.read(self.master, 1 << 16)
            except OSError:  # the client has ended
                break
        drawings = re.findall(rb"\x1b\[H((?:(?!\x1b\[H).)*?)\x1b\[J", self.bytes, re.DOTALL)
        if not drawings:
            return []
        return [line.replace("\x1b[K", "") for line in drawings[-1].decode().split("\r\n")]

    def wait_for(self, text):
        self.server.wait_for(lambda: any(text in line for line in self.screen()), f"{text} in\n{self.screen()}")
        return self.screen()

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        os.close(self.master)


@needs_shared
class Watch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.server = Server()
        # Where it will be again after a restart.
        cls.server.grpc_listen = f"unix:{cls.temporary.name}/socket"
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.mr = shared_folder() / "data/dicom-mr-ge-mr750"

    def upload(self, label, series="mr_0004"):
        answer = self.server.narthex("upload", *sorted((self.mr / series).glob("*.dcm")), "--project", "P1", "--session", label,
                                     "--no-commit")
        return answer["outcomes"][0]["prearchiveSession"]

    def push(self, label, series="mr_0005"):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        files = [shutil.copy(path, folder) for path in sorted((self.mr / series).glob("*.dcm"))]
        subprocess.run(["dcmodify", "-nb", "-i", f"PatientComments=Project:P1 Subject:S Session:{label}", *files], check=True,
                       capture_output=True)
        self.server.storescu("--to", *files)
        return next(row["name"] for row in self.server.prearchive() if row["label"] == label)

    def watcher(self, start):
        environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)
        process = subprocess.Popen([BIN / "narthex", "--output", "json", "prearchive", "watch", "--from", str(start)],
                                   env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        events = []  # grows while it reads

        def read():
            for line in iter(process.stdout.readline, ""):
                events.append(json.loads(line))
        reader = threading.Thread(target=read)
        reader.start()

        def end():
            process.terminate()
            reader.join()
            process.communicate()
        self.addCleanup(end)
        return events

    def test_a_watcher_that_loses_the_server_misses_nothing(self):
        first = self.upload("W0")
        live = self.watcher(1)
        self.server.wait_for(lambda: live, "the first event")

        names = [first, self.push("W1")]
        self.server.stop()
        self.server.start()
        names.append(self.upload("W2"))
        self.server.narthex("prearchive", "build", names[0])
        self.server.kill()
        self.server.start()
        names.append(self.push("W3"))
        for name in names[:2]:
            self.server.narthex("prearchive", "build", name)
            self.server.narthex("prearchive", "archive", name)
        self.server.stop()
        self.server.start()
        for name in names[2:]:
            self.server.narthex("prearchive", "delete", name)

        def is_last(event):
            return event["removed"] and event["prearchiveSession"]["name"] == names[-1]

        self.server.wait_for(lambda: any(map(is_last, live)), "the last event")
        replayed = self.watcher(1)
        self.server.wait_for(lambda: any(map(is_last, replayed)), "the last event of the replay")
        until = next(int(event["sequence"]) for event in replayed if is_last(event))
        self.assertEqual([event for event in live if int(event["sequence"]) <= until],
                         [event for event in replayed if int(event["sequence"]) <= until])
        numbers = [int(event["sequence"]) for event in live]
        self.assertEqual(numbers, sorted(set(numbers)))
        for number, name in enumerate(names):
            mine = [event for event in live if event["prearchiveSession"]["name"] == name]
            self.assertEqual(mine[0]["prearchiveSession"]["state"], "RECEIVING")
            self.assertEqual(mine[-1]["removed"], True)
            self.assertEqual(mine[-1]["session"].startswith("sessions/"), number < 2)
        built = next(event["prearchiveSession"] for event in live
                     if event["prearchiveSession"]["name"] == names[0] and event["prearchiveSession"]["state"] == "READY")
        self.assertEqual((built["scanCount"], built["modality"], built["objectCount"]), (1, "MR", 30))

    def test_the_live_table_fits_the_terminal(self):
        names = [self.upload(f"TABLE_WITH_A_LONG_LABEL_{number:02}") for number in range(25)]
        self.addCleanup(lambda: [self.server.run("prearchive", "delete", name) for name in names])
        for columns, rows in ((80, 24), (200, 50), (40, 10)):
            with self.subTest(columns=columns, rows=rows):
                terminal = Terminal(self.server, columns, rows, "prearchive", "watch")
                self.addCleanup(terminal.close)
                lines = terminal.wait_for("25 sessions: 25 receiving")
                self.assertLess(max(map(len, lines)), columns)
                self.assertLessEqual(len(lines), rows)
                self.assertIn("ID", lines[1])
                self.assertIn("STATE", lines[1])
                self.assertEqual("SIZE" in lines[1], columns == 200)
                shown = sum("receiving" in line for line in lines[2:])
                if shown < 25:
                    self.assertIn(f"and {25 - shown} older ones", "".join(lines))
                else:
                    self.assertEqual(rows, 50)

        # A terminal that changes its size gets another drawing though nothing happens.
        terminal.resize(200, 50)
        lines = terminal.wait_for("SIZE")
        self.assertEqual(sum("receiving" in line for line in lines[2:]), 25)
        terminal.resize(60, 12)
        self.server.wait_for(lambda: len(terminal.screen()) <= 12, "a smaller table")
        self.assertLess(max(map(len, terminal.screen())), 60)

        self.server.narthex("prearchive", "build", names[-1])
        terminal = Terminal(self.server, 80, 24, "prearchive", "watch")
        self.addCleanup(terminal.close)
        lines = terminal.wait_for("24 receiving")
        self.assertIn("1 ready", lines[0])

    def test_the_live_table_of_one_session_follows_it_over_a_restart(self):
        name = self.upload("ONE")
        terminal = Terminal(self.server, 80, 24, "prearchive", "watch", name)
        self.addCleanup(terminal.close)
        terminal.wait_for("1 session: 1 receiving")

        self.server.narthex("prearchive", "build", name)
        lines = terminal.wait_for("1 session: 1 ready")
        self.assertRegex(lines[2], r"ready .* 1 +30 ")  # scans and objects
        self.server.stop()
        terminal.wait_for("the server cannot be reached")
        self.server.start()
        self.server.narthex("prearchive", "delete", name)
        terminal.wait_for("0 sessions")

        self.assertEqual(terminal.process.wait(timeout=20), 0)

    def test_a_server_that_stays_away_is_waited_for_unless_said_otherwise(self):
        name = self.upload("AWAY")
        environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)
        command = [BIN / "narthex", "--output", "json", "prearchive", "watch", name, "--from", "1"]
        patient, hasty = (subprocess.Popen([*command, *flags], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           text=True) for flags in ((), ("--timeout", "1s")))
        for watcher in (patient, hasty):
            self.assertIn("RECEIVING", watcher.stdout.readline())

        self.server.stop()
        said = hasty.communicate(timeout=60)[1]
        self.assertEqual(hasty.returncode, 3)
        self.assertIn("the server cannot be reached since", said)
        self.assertIsNone(patient.poll())
        self.server.start()
        self.server.narthex("prearchive", "delete", name)

        out, said = patient.communicate(timeout=60)
        self.assertEqual(patient.returncode, 0)
        self.assertTrue(json.loads(out.splitlines()[-1])["removed"])
        self.assertEqual(len(said.splitlines()), 2, said)
        self.assertIn("trying again", said.splitlines()[0])
        self.assertIn("is there again", said.splitlines()[1])


if __name__ == "__main__":
    unittest.main()
