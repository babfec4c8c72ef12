"""Marked patient values on all ways through a server; then everything that is not their place is searched for them."""

import os
import pathlib
import shutil
import socket
import sys
import tempfile
import unittest
import urllib.request

import grpc
import pydicom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

import api  # noqa: E402
import external_postgres  # noqa: E402
import marks  # noqa: E402
from harness import Server, phantom  # noqa: E402

# Attribute -> marked value, all in marks.MARKS. None of them takes part in routing.
MARKS = {"PatientName": "QQMARKNAME^QQGIVEN", "OtherPatientIDs": "QQMARKOTHER", "PatientAddress": "QQMARKSTREET",
         "PatientMotherBirthName": "QQMARKMOTHER", "PatientTelephoneNumbers": "QQMARKPHONE", "PatientBirthDate": "19170317",
         "ReferringPhysicianName": "QQMARKDOCTOR", "AccessionNumber": "QQMARKACC", "AdditionalPatientHistory": "QQMARKHISTORY",
         "InstitutionName": "QQMARKHOSPITAL", "OperatorsName": "QQMARKOPERATOR", "StudyID": "QQMARKSTUDYID"}


class Phi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        api.generate()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        # Beside the data directory, in whose names of files no mark may be.
        cls.inbox = cls.folder / "inbox"
        cls.server = Server(flags=["--inbox-dir", cls.inbox])
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
        cls.fails("session", "show", "P1/NOTHERE")
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
        cls.import_folders_of_patients(client)
        client.close()
        with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=10) as page:
            cls.metrics = page.read()

    @classmethod
    def import_folders_of_patients(cls, client):
        """Whoever copies images into the inbox gives folders and files the names of patients; they cannot be imported."""
        folder = cls.inbox / "P1/QQDOE^JOHN"
        folder.mkdir(parents=True)
        (folder / "QQDOE.zip").write_bytes(b"PK\3\4" + bytes(200))
        with socket.socket(socket.AF_UNIX) as unreadable:
            unreadable.bind(str(folder.parent / "QQROE^JANE"))
            for name in (folder.name, "QQROE^JANE"):
                client.call("UploadService", "ImportInbox", path=f"P1/{name}", destination={"project": "P1"})
            cls.server.wait_for(lambda: cls.server.log_text().count("kind=import-inbox") == 2, "the imports to fail")

    def assertClean(self, where, data):
        found = marks.MARKS.search(data if isinstance(data, bytes) else data.encode())
        self.assertIsNone(found, f"{where} holds a patient's value: {found and found[0]}")

    def test_the_marks_are_where_they_belong(self):
        """The search finds what is there: else all else means nothing."""
        archived = list((self.server.data_dir / "d/archive").rglob("*.dcm"))
        self.assertTrue(archived)
        self.assertRegex(archived[0].read_bytes(), marks.MARKS)
        for place in marks.PLACES:
            self.assertRegex(self.server.sql(f"SELECT * FROM {place}"), marks.MARKS.pattern.decode())

    def test_the_search_finds_what_is_planted(self):
        planted = self.server.data_dir / "LOG.old.17"
        planted.write_text("QQMARKNAME")
        marks.listen("nobody", "there is no QQMARKNAME")
        self.assertEqual(marks.search_files(self.server), [f"the log {planted}", "what nobody said"])
        planted.rename(self.server.data_dir / "QQMARKNAME")
        self.assertEqual(marks.search_files(self.server), [f"the name of a file in {self.server.data_dir}"])
        (self.server.data_dir / "QQMARKNAME").unlink()
        self.server.sql("CREATE TABLE planted AS SELECT 'QQMARKNAME'")
        self.assertEqual(marks.search_database(self.server), ["the table planted"])
        self.server.sql("DROP TABLE planted")

    def test_a_database_that_cannot_be_searched_is_a_failure(self):
        conninfo = external_postgres.Cluster.get().new_database()
        with Server(flags=["--dicom-listen", "off", "--postgres", conninfo]) as server:
            self.assertIn("sessions", marks.rows(server))
            server.superuser = lambda: conninfo  # the server's own role, which the policies bind
            with self.assertRaisesRegex(AssertionError, "cannot be searched"):
                marks.search_database(server)
            del server.superuser

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
        self.assertNotIn(token, marks.dump(self.server))
        self.assertNotIn(token, self.metrics)
        self.assertEqual(os.stat(self.server.ready["token_file"]).st_mode & 0o777, 0o600)

    def test_names_of_files(self):
        for folder, folders, files in os.walk(self.server.data_dir):
            for name in (*folders, *files):
                self.assertClean(f"a name below {folder}", name)

    def test_the_database_outside_their_places(self):
        self.assertEqual(marks.search_database(self.server), [])
        self.assertIn("sessions", marks.rows(self.server))


if __name__ == "__main__":
    unittest.main()
