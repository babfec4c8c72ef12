"""From the scanner to the archive: both doors, build, archive, search, download, on a real server."""

import pathlib
import subprocess
import tempfile
import unittest

from harness import BIN, CommandFailed, Server, phantom, sha256


class MainJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def make(self, session, **options):
        folder = pathlib.Path(self.folder.name) / session
        return folder, phantom(folder, session=session, subject=session + "_S", seed=hash(session) % 10000, **options)

    def archived_digests(self, reference):
        return sorted(file["sha256"] for file in self.server.files(reference) if file["format"] == "DICOM")

    def test_upload_archives_what_was_sent(self):
        folder, files = self.make("UP1")

        answer = self.server.narthex("upload", folder, "--project", "P1", "--archive")

        self.assertEqual({outcome["outcome"] for outcome in answer["outcomes"]}, {"STORED"})
        self.assertEqual(len(answer["outcomes"]), len(files))
        session = self.server.narthex("session", "show", "P1/UP1")
        self.assertEqual(session["fileCount"], len(files))
        self.assertEqual(session["subject"], "UP1_S")
        self.assertEqual(session["sessionType"], "xnat:mrSessionData")
        self.assertEqual(session["status"], "ACTIVE")
        self.assertEqual(self.archived_digests("P1/UP1"), sorted(map(sha256, files)))
        self.assertNotIn("UP1", [session["label"] for session in self.server.prearchive("--project", "P1")])

    def test_dicom_push_is_staged_built_and_archived(self):
        folder, files = self.make("PUSH1", modality="CT")

        self.server.storescu("--to", "+sd", "+r", folder)

        staged = [s for s in self.server.prearchive("--project", "P1") if s["label"] == "PUSH1"]
        self.assertEqual(len(staged), 1)
        self.assertEqual(staged[0]["state"], "RECEIVING")
        self.assertEqual(staged[0]["objectCount"], len(files))
        self.assertEqual(staged[0]["source"], "dicom")
        self.server.narthex("prearchive", "build", staged[0]["name"])
        built = self.server.narthex("prearchive", "show", staged[0]["name"])
        self.assertEqual(built["state"], "READY")
        self.assertEqual(built["scanCount"], 2)
        self.server.narthex("prearchive", "archive", staged[0]["name"])
        # Over DICOM the data set's bytes count: the file's own header is the gateway's.
        import pydicom
        with tempfile.TemporaryDirectory() as download:
            self.server.narthex("session", "download", "P1/PUSH1", "-o", download, "--verify")
            sent = {pydicom.dcmread(f).SOPInstanceUID: self.data_set(f) for f in files}
            got = {pydicom.dcmread(f).SOPInstanceUID: self.data_set(f)
                   for f in pathlib.Path(download).rglob("*.dcm")}
        self.assertEqual(got, sent)

    @staticmethod
    def data_set(path):
        """The bytes behind the meta group of a Part 10 file."""
        data = pathlib.Path(path).read_bytes()
        length = int.from_bytes(data[140:144], "little")
        return data[144 + length:]

    def test_repeating_an_upload_gives_duplicates_only(self):
        folder, files = self.make("DUP1")
        self.server.narthex("upload", folder, "--project", "P1", "--no-commit")

        again = self.server.narthex("upload", folder, "--project", "P1", "--no-commit")

        self.assertEqual({outcome["outcome"] for outcome in again["outcomes"]}, {"DUPLICATE"})
        self.server.check_invariants(self)

    def test_one_study_through_both_doors_is_kept_once(self):
        folder, files = self.make("BOTH1")
        self.server.storescu("--to", "+sd", "+r", folder)

        answer = self.server.narthex("upload", folder, "--project", "P1", "--no-commit")

        self.assertEqual({(o["outcome"], o["reason"]) for o in answer["outcomes"]}, {("DUPLICATE", "SAME_DATA_SET")})
        row = next(s for s in self.server.prearchive("--project", "P1") if s["label"] == "BOTH1")
        self.assertEqual(row["objectCount"], len(files))

    def test_the_whole_header_can_be_read(self):
        import pydicom
        folder, files = self.make("HEAD1")
        answer = self.server.narthex("upload", folder, "--project", "P1", "--no-commit")
        outcome = answer["outcomes"][0]
        sent = next(d for d in map(pydicom.dcmread, files) if str(d.SOPInstanceUID) == outcome["sopInstanceUid"])

        header = self.server.narthex("prearchive", "header", outcome["prearchiveSession"], "--instance",
                                     outcome["sopInstanceUid"])

        values = {a["keyword"]: a["value"] for a in header["attributes"]}
        self.assertEqual(values["PatientID"], str(sent.PatientID))
        self.assertEqual(values["SeriesDescription"], str(sent.SeriesDescription))
        self.assertEqual(values["TransferSyntaxUID"], str(sent.file_meta.TransferSyntaxUID))
        paths = {a["path"] for a in header["attributes"]}
        for element in sent:
            if element.keyword != "PixelData":
                self.assertIn(f"({element.tag.group:04X},{element.tag.element:04X})", paths)

    def test_what_the_archive_has_is_not_sent_again(self):
        folder, files = self.make("KNOWN1")
        self.server.narthex("upload", folder, "--project", "P1", "--archive")

        again = self.server.narthex("upload", folder, "--project", "P1", "--skip-known", "--no-commit")

        self.assertEqual([o for o in again["outcomes"] if o["outcome"] == "STORED"], [])
        self.assertNotIn("KNOWN1", [s["label"] for s in self.server.prearchive("--project", "P1")])

    def test_a_refused_file_has_an_outcome_with_a_reason(self):
        folder, files = self.make("REF1")
        (folder / "notes.txt").write_text("not an image")

        answer = self.server.narthex("upload", folder, "--project", "P1", "--no-commit", code=1)

        refused = [o for o in answer["outcomes"] if o["outcome"] != "STORED"]
        self.assertEqual([o["reason"] for o in refused], ["NOT_DICOM"])
        self.assertTrue(refused[0]["detail"])

    def test_zip_is_taken_in(self):
        folder, files = self.make("ZIP1")
        archive = pathlib.Path(self.folder.name) / "zip1.zip"
        subprocess.run(["python3", "-m", "zipfile", "-c", archive, folder], check=True)

        self.server.narthex("upload", archive, "--project", "P1", "--archive")

        self.assertEqual(self.archived_digests("P1/ZIP1"), sorted(map(sha256, files)))

    def test_search_and_scans(self):
        folder, files = self.make("FIND1", modality="CT", series=3)
        self.server.narthex("upload", folder, "--project", "P1", "--archive")

        found = self.server.sessions('modality = "CT" AND label = "FIND1"')

        self.assertEqual([s["label"] for s in found], ["FIND1"])
        scans = self.server.narthex("session", "scans", "P1/FIND1")["scans"]
        self.assertEqual(len(scans), 3)
        self.assertEqual(sum(scan["fileCount"] for scan in scans), len(files))
        self.assertEqual(self.server.sessions('modality = "NM"'), [])

    def test_an_unknown_project_is_an_error(self):
        folder, _ = self.make("NOP1")

        result = self.server.run("upload", folder, "--project", "NO_SUCH")

        self.assertEqual(result.returncode, 1)
        self.assertIn("PROJECT_NOT_FOUND", result.stderr + result.stdout)

    def test_calls_without_a_good_token_are_refused(self):
        result = self.server.run("project", "list", token="nx_wrong")

        self.assertEqual(result.returncode, 4)
        self.assertIn("UNAUTHENTICATED", result.stderr + result.stdout)

    def test_an_existing_label_is_a_conflict(self):
        folder, _ = self.make("LAB1")
        self.server.narthex("upload", folder, "--project", "P1", "--archive")
        other = pathlib.Path(self.folder.name) / "LAB1b"
        phantom(other, session="LAB1", subject="LAB1_S", seed=4711)

        with self.assertRaises(CommandFailed) as failed:
            self.server.narthex("upload", other, "--project", "P1", "--archive")

        self.assertEqual(failed.exception.returncode, 1)
        waiting = [s for s in self.server.prearchive("--project", "P1") if s["label"] == "LAB1"]
        self.assertEqual(waiting[0]["state"], "CONFLICT")
        self.assertIn(1, [conflict["code"] for conflict in waiting[0]["conflicts"]])

    def test_deleted_sessions_are_gone_from_lists_and_free_their_label(self):
        folder, files = self.make("DEL1")
        self.server.narthex("upload", folder, "--project", "P1", "--archive")
        first = self.server.narthex("session", "show", "P1/DEL1")["accessionId"]

        self.server.narthex("session", "delete", "P1/DEL1")

        self.assertEqual(self.server.sessions('label = "DEL1"'), [])
        self.server.narthex("upload", folder, "--project", "P1", "--archive")
        second = self.server.narthex("session", "show", "P1/DEL1")["accessionId"]
        self.assertNotEqual(first, second)
        self.assertEqual(self.archived_digests("P1/DEL1"), sorted(map(sha256, files)))

    def test_an_idle_session_is_built_by_itself(self):
        folder, _ = self.make("IDLE1")
        self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "1")
        try:
            self.server.storescu("--to", "+sd", "+r", folder)
            row = self.server.wait_for(
                lambda: next((s for s in self.server.prearchive("--project", "P1")
                              if s["label"] == "IDLE1" and s["state"] == "READY"), None), "READY", timeout=20)
        finally:
            self.server.narthex("settings", "set", "prearchive.idle_build_seconds", "60")
        self.assertEqual(row["completion"], "idle")

    def test_a_second_server_on_the_data_directory_is_refused(self):
        result = subprocess.run([BIN / "narthexd", "--data-dir", self.server.data_dir / "d", "--grpc-listen",
                                 "127.0.0.1:0", "--dicom-listen", "off"], capture_output=True, text=True, timeout=60)

        self.assertEqual(result.returncode, 78)
        self.assertIn("another narthexd uses the data directory", result.stderr)


if __name__ == "__main__":
    unittest.main()
