"""Marked patient values on all ways through a server; then everything that is not their place is searched for them."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import grpc
import pydicom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

import api  # noqa: E402
from harness import ROOT, Server, phantom  # noqa: E402

# Attribute -> marked value. None of them takes part in routing.
MARKS = {"PatientName": "QQMARKNAME^QQGIVEN", "OtherPatientIDs": "QQMARKOTHER", "PatientAddress": "QQMARKSTREET",
         "PatientMotherBirthName": "QQMARKMOTHER", "PatientTelephoneNumbers": "QQMARKPHONE", "PatientBirthDate": "19170317",
         "ReferringPhysicianName": "QQMARKDOCTOR", "AccessionNumber": "QQMARKACC", "AdditionalPatientHistory": "QQMARKHISTORY",
         "InstitutionName": "QQMARKHOSPITAL", "OperatorsName": "QQMARKOPERATOR", "StudyID": "QQMARKSTUDYID"}
SECRET = re.compile(rb"QQMARK\w*|QQGIVEN|1917-?03-?17")
# Of PostgreSQL: the tables that are the place of such values (docs/formats/database.md).
PLACES = {"session_documents", "session_facts"}
# Where a session's acquisition site is a field, and its former values are kept: of an institution, not of a patient.
SITE_PLACES = {"sessions", "session_history"}


class Phi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        api.generate()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.server = Server(flags=["--metrics-listen", "127.0.0.1:0", "--log-level", "debug"])
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.start()
        cls.said = []  # all that commands printed about failures, and RPC errors
        cls.outcomes = []
        cls.pass_everything()

    @classmethod
    def marked(cls, name, **how):
        files = phantom(cls.folder / name, **how)
        for path in files:
            image = pydicom.dcmread(path)
            for keyword, value in MARKS.items():
                setattr(image, keyword, value)
            image.save_as(path)
        return files

    @classmethod
    def fails(cls, *arguments):
        result = cls.server.run(*arguments)
        cls.said.append(result.stderr)
        return result

    @classmethod
    def pass_everything(cls):
        server = cls.server
        server.narthex("project", "create", "P1")
        whole = cls.marked("whole", session="PHI1")
        cls.marked("other", session="PHI2", seed=2)
        server.narthex("upload", cls.folder / "whole", "--project", "P1", "--archive")
        server.storescu("--to", "+sd", "+r", cls.folder / "other")
        # The same instances with other bytes, cut and spoilt ones, and none at all.
        bad = cls.folder / "bad"
        bad.mkdir()
        image = pydicom.dcmread(whole[0])
        image.PatientComments = "QQMARKCOMMENT"
        image.save_as(bad / "changed.dcm")
        data = whole[0].read_bytes()
        (bad / "cut.dcm").write_bytes(data[:700])
        (bad / "garbage.dcm").write_bytes(b"QQMARKGARBAGE" * 100)
        spoilt = bytearray(data)
        at = data.index(b"QQMARKNAME")
        spoilt[at - 4:at] = b"\xff\xff\xff\x7f"
        (bad / "spoilt.dcm").write_bytes(spoilt)
        cls.fails("upload", bad, "--project", "P1", "--no-commit")
        for path in sorted(bad.iterdir()):
            server.storescu("--to", "-v", path, code=None)
        row = next(row for row in server.prearchive() if row["label"] == "PHI2")
        server.narthex("prearchive", "build", row["name"])
        server.narthex("prearchive", "update", row["name"], "--label", "PHI1", code=None)
        cls.fails("prearchive", "archive", row["name"])
        cls.fails("session", "show", "P1/QQNOTHERE")
        cls.fails("session", "search", "--filter", "nonsense = (")
        cls.fails("prearchive", "update", row["name"], "--label", "no such/label")
        client = api.Api(server)
        for session in server.prearchive():
            cls.outcomes.append(server.run("prearchive", "outcomes", session["name"]).stdout)
        for service, method, fields in (("ArchiveService", "GetSession", {"name": "sessions/none"}),
                                        ("PrearchiveService", "GetPrearchiveSession", {"name": "bad name"})):
            try:
                client.call(service, method, **fields)
            except grpc.RpcError as error:
                cls.said.append(f"{error.details()} {error.trailing_metadata()}")
        client.close()
        with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=10) as page:
            cls.metrics = page.read()

    def assertClean(self, where, data):
        found = SECRET.search(data if isinstance(data, bytes) else data.encode())
        self.assertIsNone(found, f"{where} holds a patient's value: {found and found[0]}")

    def test_the_marks_are_where_they_belong(self):
        """The search finds what is there: else all else means nothing."""
        archived = list((self.server.data_dir / "d/archive").rglob("*.dcm"))
        self.assertTrue(archived)
        self.assertRegex(archived[0].read_bytes(), SECRET)

    def test_logs_metrics_errors_and_outcomes(self):
        log = (self.server.data_dir / "narthexd.log").read_bytes()
        self.assertGreater(len(log), 1000)
        self.assertClean("the log", log)
        self.assertClean("PostgreSQL's log", (self.server.data_dir / "d/postgres/postgres.log").read_bytes())
        self.assertIn(b"narthex_objects_total", self.metrics)
        self.assertClean("a metric", self.metrics)
        self.assertGreaterEqual(len(self.said), 6)
        for text in self.said:
            self.assertClean("an error", text)
        self.assertTrue(any("REJECTED" in text for text in self.outcomes) or any("REJECTED" in t for t in self.said)
                        or "REJECTED" in str(self.metrics))
        for text in self.outcomes:
            self.assertClean("an outcome", text)

    def test_tokens_are_in_no_log_and_no_row(self):
        token = self.server.token.encode()
        for log in (self.server.data_dir / "narthexd.log", self.server.data_dir / "d/postgres/postgres.log"):
            self.assertNotIn(token, log.read_bytes())
        self.assertNotIn(token, self.dump())
        self.assertNotIn(token, self.metrics)
        self.assertEqual(os.stat(self.server.ready["token_file"]).st_mode & 0o777, 0o600)

    def test_names_of_files(self):
        for folder, folders, files in os.walk(self.server.data_dir):
            for name in (*folders, *files):
                self.assertClean(f"a name below {folder}", name)

    def dump(self):
        binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        return subprocess.run([binaries / "pg_dump", "--inserts", "--column-inserts", "-h", self.socket(), "-U", self.user(),
                               "narthex"], check=True, capture_output=True).stdout

    def socket(self):
        return str(next((self.server.data_dir / "d/postgres").rglob(".s.PGSQL.*")).parent)

    def user(self):
        source = (ROOT / "storage/metadata/managed_postgres.cc").read_text()
        return re.search(r'kRole\[\] = "(\w+)"', source)[1]

    def test_the_database_outside_their_places(self):
        for statement in re.findall(rb"INSERT INTO (?:\w+\.)?(\w+) \(([^)]*)\) VALUES \((.*?)\);\n", self.dump(), re.DOTALL):
            table, columns, values = statement
            if table.decode() in SITE_PLACES:
                values = values.replace(b"QQMARKHOSPITAL", b"")
            if SECRET.search(values) and table.decode() not in PLACES:
                self.fail(f"table {table.decode()} ({columns.decode()[:200]}): {SECRET.search(values)[0]}")

    def test_the_process_leaves_no_core(self):
        limits = pathlib.Path(f"/proc/{self.server.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size\s+0\s+0\s")


if __name__ == "__main__":
    unittest.main()
