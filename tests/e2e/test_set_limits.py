"""Limits that are set at the start: a lower one refuses by name what the default takes, a higher one takes what it refuses, what
was stored stays readable under any, and a mistake ends the start."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import zipfile

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from harness import BIN, Server, phantom

HELP = pathlib.Path(__file__).resolve().parent / "testdata/narthexd_help.txt"
SCRIPT = 'version "6.1"\n(0010,0010) := subject\n'


def nested(depth):
    """A data set with so many sequences within each other."""
    data = Dataset()
    if depth > 0:
        data.ReferencedStudySequence = Sequence([nested(depth - 1)])
    else:
        data.PatientComments = "the innermost"
    return data


class SetLimits(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def limits(self, *assignments):
        return [word for assignment in assignments for word in ("--limit", assignment)]

    def server(self, *assignments, **more):
        server = Server(flags=self.limits(*assignments), **more)
        self.addCleanup(server.__exit__)
        server.start()
        return server

    def images(self, name, change=lambda data: None):
        """A session of two images, changed."""
        files = phantom(self.folder / name, session=name, series=1, slices=2)
        for file in files:
            data = pydicom.dcmread(file)
            change(data)
            data.save_as(file)
        return self.folder / name

    def deep(self, name, depth):
        def change(data):
            data.ReferencedStudySequence = nested(depth).ReferencedStudySequence
        return self.images(name, change)

    def script(self, text, name="script.das"):
        path = self.folder / name
        path.write_text(text)
        return path

    def upload(self, server, folder, *flags):
        return server.run("upload", folder, "--project", "P1", *flags)

    def refused(self, result, reason):
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertIn(reason, result.stdout + result.stderr)

    def test_a_lower_limit_refuses_by_name_what_the_default_takes(self):
        server = self.server("sequence_max_depth=5", "script_max_bytes=1KiB", "archive_max_entries=3",
                             "header_max_bytes=64 KiB")
        server.narthex("project", "create", "P1")
        # The site's script walks all of a header; what passes unread is not counted.
        server.narthex("anon", "set", self.script(SCRIPT))
        server.narthex("anon", "enable")

        self.refused(self.upload(server, self.deep("DEEP", 6)), "HEADER_TOO_DEEP")
        self.assertEqual(self.upload(server, self.deep("FLAT", 5)).returncode, 0)

        def long(data):
            data.add_new(0x00110010, "LO", "TEST")
            data.add_new(0x00111001, "OB", bytes(70_000))
        self.refused(self.upload(server, self.images("LONG", long)), "HEADER_TOO_LARGE")

        self.refused(server.run("anon", "set", self.script(SCRIPT + "// " + 1100 * "x" + "\n", "long.das")), "1024 bytes")

        with zipfile.ZipFile(self.folder / "four.zip", "w") as archive:
            for number in range(4):
                archive.writestr(f"{number}.txt", "no image")
        self.refused(server.run("import", self.folder / "four.zip", "--project", "P1"), "ARCHIVE_UNREADABLE")

    def test_a_higher_limit_takes_what_the_default_refuses(self):
        deep = self.deep("DEEP", 80)
        text = SCRIPT + "// " + (1 << 20) * "x" + "\n"
        for assignments, taken in (((), False), (("sequence_max_depth=100", "script_max_bytes=2MiB"), True)):
            server = self.server(*assignments)
            server.narthex("project", "create", "P1")
            server.narthex("anon", "set", self.script(SCRIPT))
            server.narthex("anon", "enable")
            self.assertEqual(server.run("anon", "set", self.script(text)).returncode == 0, taken)
            if taken:
                self.assertEqual(self.upload(server, deep).returncode, 0)
            else:
                self.refused(self.upload(server, deep), "HEADER_TOO_DEEP")

    def test_what_was_stored_stays_in_force_and_readable_under_lower_limits(self):
        (self.folder / "server").mkdir()
        server = self.server("script_max_nesting=100", "regex_max_bytes=2000", "rules_max_bytes=100KiB",
                             data_dir=self.folder / "server")
        server.narthex("project", "create", "P1")
        # A project's script is applied when its sessions are archived.
        script = SCRIPT + '(0008,1030) := "' + 3000 * "x" + '"\n'
        server.narthex("anon", "set", self.script(script), "--project", "P1")
        server.narthex("anon", "enable", "--project", "P1")
        rules = "\n".join(f"(0010,4000):Rule{number}:(.*):1" for number in range(50))
        server.narthex("settings", "set", "routing.subject_rules", rules)
        server.narthex("filter", "set", self.script("(?:BAD" + 1500 * "x" + ")", "filter"), "--mode", "deny")
        self.assertEqual(self.upload(server, self.deep("DEEP", 20), "--commit").returncode, 0)
        row = server.prearchive()[0]

        server.stop()
        server.flags = self.limits("sequence_max_depth=5", "header_max_bytes=64KiB", "header_max_elements=100",
                                   "script_max_bytes=256", "script_max_nesting=4", "rules_max=1", "rules_max_bytes=256",
                                   "regex_max_bytes=32", "series_filter_max_bytes=256", "object_max_bytes=1MiB",
                                   "segment_max_bytes=64MiB", "segment_buffer_bytes=1MiB", "type_sources_max=16")
        server.start()

        self.assertNotIn("cannot be run", server.log_text())
        self.assertNotIn("stored setting not applied", server.log_text())
        # New ones are held to the new limits.
        self.refused(server.run("settings", "set", "routing.subject_rules", rules), "1 rules")
        self.refused(server.run("anon", "set", self.script(script), "--project", "P1"), "256 bytes")
        # The script runs, on a header that would not be taken any more.
        server.narthex("prearchive", "archive", row["name"])
        files = sorted((server.data_dir / "d/archive").rglob("*.dcm"))
        self.assertEqual(len(files), 2)
        for file in files:
            data = pydicom.dcmread(file)
            self.assertEqual(str(data.StudyDescription)[:4], "xxxx")
            self.assertEqual(data.PatientName, "S1")
        self.assertEqual(server.run("session", "check", "P1/DEEP").returncode, 0)

    def test_a_setting_wins_over_the_start_and_the_start_over_the_file(self):
        config = self.script('[limits]\nupload_streams_max = 7\nassociations_max = 9\nheader_max_bytes = "64 MiB"\n', "n.toml")
        server = Server(flags=["--config", config, *self.limits("upload_streams_max=8")])
        self.addCleanup(server.__exit__)
        server.start()

        def values():
            listed = {row["key"]: row["value"] for row in server.narthex("settings", "get")["settings"]}
            return listed["limits.upload_streams_max"], listed["limits.associations_max"]
        self.assertEqual(values(), ("8", "9"))
        server.narthex("settings", "set", "limits.upload_streams_max", "5")
        self.assertEqual(values(), ("5", "9"))

    def start(self, program, *arguments):
        return subprocess.run([BIN / program, *arguments], capture_output=True, text=True, timeout=60)

    def test_a_mistake_ends_the_start(self):
        data = ["--data-dir", self.folder / "d"]
        for program, common in (("narthexd", data), ("narthex-gateway", [])):
            for assignment, said in (
                    ("sequence_max_deph=5", 'no limit "sequence_max_deph"; the nearest are sequence_max_depth, '),
                    ("sequence_max_depth=1000", 'sequence_max_depth may be 1 to 256, not "1000"'),
                    ("header_max_bytes=1KiB", 'header_max_bytes may be 65536 to 268435456, not "1KiB"'),
                    ("uid_max_bytes=65", 'no limit "uid_max_bytes"'), ("header_max_bytes", "NAME=VALUE")):
                with self.subTest(program=program, assignment=assignment):
                    ended = self.start(program, *common, "--limit", assignment)
                    self.assertEqual(ended.returncode, 64, ended.stderr)
                    self.assertIn(said, ended.stderr)
        self.assertFalse((self.folder / "d").exists())

        for text, said in (("[limits]\nheader_max_byte = 70000\n", ':2: there is no limit "header_max_byte"'),
                           ("[limits]\n\nheader_max_bytes = 1\n", ":3: the limit header_max_bytes may be 65536"),
                           ("[limits]\nsequence_max_depth = 5.5\n", ":2: the limit sequence_max_depth may be"),
                           ("limits = 3\n", ':1: "limits" must be a table')):
            with self.subTest(text=text):
                ended = self.start("narthexd", *data, "--check-config", "--config", self.script(text, "n.toml"))
                self.assertEqual(ended.returncode, 78, ended.stderr)
                self.assertIn(said, ended.stderr)
        good = self.script('[limits]\nheader_max_bytes = "64 MiB"\nsequence-max-depth = 5\n', "n.toml")
        self.assertEqual(self.start("narthexd", *data, "--check-config", "--config", good).returncode, 0)

    def test_a_gateway_of_its_own_takes_limits_of_the_dicom_network(self):
        with Server(flags=["--dicom-listen", "off"]) as server:
            ready = self.folder / "gateway.json"
            gateway = subprocess.Popen([BIN / "narthex-gateway", "--server", server.address, "--token-file",
                                        server.ready["token_file"], "--dicom-listen", "127.0.0.1:0", "--ready-file", ready,
                                        "--limit", "associate_max_bytes=4096", "--limit", "transfer_syntaxes_max=1"],
                                       stderr=subprocess.DEVNULL)
            self.addCleanup(gateway.kill)
            server.wait_for(ready.exists, "the gateway")
            server.dicom_host, server.dicom_port = json.loads(ready.read_text())["dicom"].rsplit(":", 1)
            server.storescu("--to", tool="echoscu")  # one context of one syntax
            refused = server.storescu("--to", "--propose-ts", "3", tool="echoscu", code=None)
            self.assertNotEqual(refused.returncode, 0)
            gateway.terminate()
            self.assertEqual(gateway.wait(timeout=30), 0)

    def test_help(self):
        """To accept: NARTHEX_UPDATE_GOLDEN=1, then look at git diff."""
        shown = self.start("narthexd", "--help").stdout
        if "NARTHEX_UPDATE_GOLDEN" in os.environ:
            HELP.parent.mkdir(exist_ok=True)
            HELP.write_text(shown)
        self.assertEqual(shown, HELP.read_text())


if __name__ == "__main__":
    unittest.main()
