"""Anonymization from the outside: both doors, on real images, and a search for what must be gone on everything that the
server wrote."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import pydicom

from harness import Server, needs_shared, phantom, shared_folder

SITE_SCRIPT = """version "6.1"
(0010,0010) := subject
(0010,0020) := session
(0020,000D) := hashUID[(0020,000D)]
(0020,000E) := hashUID[(0020,000E)]
(0008,0018) := hashUID[(0008,0018)]
"""
PROJECT_SCRIPT = """version "6.1"
(0008,1030) := project
(0008,0018) := mapUID[(0008,0018), "2.25.7"]
"""


def everything(folder):
    """The bytes of every file below a folder, by path."""
    return {path: path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}


@needs_shared
class Anonymize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-anon-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.images = sorted((shared_folder() / "data/dicom-mr-siemens-skyra").rglob("*.dcm"))[:4]
        for project in ("P1", "P2", "P3", "P4"):
            cls.server.narthex("project", "create", project)

    def setUp(self):
        self.server.narthex("anon", "disable")

    def script(self, text):
        path = self.folder / "script.das"
        path.write_text(text)
        return path

    def site(self, text, *flags):
        self.server.narthex("anon", "set", self.script(text))
        return self.server.narthex("anon", "enable", *flags)

    def raw_strings(self, paths):
        found = set()
        for path in paths:
            data = pydicom.dcmread(path, stop_before_pixels=True)
            found |= {str(data.PatientName), str(data.StudyInstanceUID), str(data.SeriesInstanceUID),
                      str(data.SOPInstanceUID)}
            for keyword in ("PatientBirthDate", "InstitutionName", "ReferringPhysicianName", "DeviceSerialNumber"):
                found |= {str(data.get(keyword, ""))}
        return {text for text in found if len(text) > 4}

    def expect_gone(self, texts, folder=None):
        for path, data in everything(folder or self.server.data_dir).items():
            for text in texts:
                self.assertNotIn(text.encode(), data, f"{text} is in {path}")

    def download(self, reference):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        self.server.narthex("session", "download", reference, "-o", folder, "--verify")
        return sorted(folder.rglob("*.dcm"))

    def test_a_what_the_site_takes_away_is_nowhere(self):
        enabled = self.site(SITE_SCRIPT, "--profile", "basic")
        self.assertTrue(enabled["enabled"])
        raw = self.raw_strings(self.images)
        self.assertGreater(len(raw), 6)

        sent = self.server.narthex("upload", *self.images, "--project", "P1", "--subject", "S1", "--session", "GRPC")
        again = self.server.narthex("upload", *self.images, "--project", "P1", "--subject", "S1", "--session", "GRPC")
        rule = "(0008,0060):(.*):1"
        for what in ("subject", "session"):
            self.server.narthex("settings", "set", f"routing.{what}_rules", rule)
        self.server.storescu("--to", *self.images)

        self.assertEqual({o["outcome"] for o in sent["outcomes"]}, {"STORED"})
        self.assertEqual({o["outcome"] for o in again["outcomes"]}, {"DUPLICATE"})
        self.expect_gone(raw)
        pushed = [s for s in self.server.prearchive() if s["source"] == "dicom"]
        self.assertEqual([s["objectCount"] for s in pushed], [len(self.images)])
        self.server.narthex("prearchive", "update", pushed[0]["name"], "--project", "P1", "--label", "PUSHED")
        for session in self.server.prearchive("--project", "P1"):
            if session["state"] == "RECEIVING":
                self.server.narthex("prearchive", "build", session["name"])
            self.server.narthex("prearchive", "archive", session["name"])
        self.expect_gone(raw)
        for reference in ("P1/GRPC", "P1/PUSHED"):
            for path, original in zip(self.download(reference), self.images):
                data = pydicom.dcmread(path)
                self.assertEqual(data.PatientIdentityRemoved, "YES")
                codes = [item.CodeValue for item in data.DeidentificationMethodCodeSequence]
                self.assertIn("113100", codes)
                self.assertIn(enabled["digest"][:16], codes)
                # Once, though it came here twice.
                self.assertEqual(len(codes), len(set(codes)))
        for path in (self.server.narthex("session", "files", "P1/GRPC"))["files"]:
            self.assertTrue(path["instanceUid"].startswith("2.25."), path)
        history = self.server.narthex("session", "history", "P1/GRPC")
        self.assertIn(enabled["digest"][:16], str(history))

    def test_b_objects_that_the_script_refuses_leave_nothing(self):
        for number, (script, reason) in enumerate([("reject[]\n", "REJECTED_BY_SCRIPT"),
                                                   ("(0010,0010) := uppercase[(0018,9999)]\n", "ANONYMIZATION_FAILED")]):
            self.site('version "6.1"\n' + script, "--profile", "none")
            files = phantom(self.folder / f"refused{number}", series=1, slices=2, subject=f"Refusovsky{number}", seed=77 + number)

            answer = self.server.narthex("upload", *files, "--project", "P1", "--subject", "S", "--session", "REFUSED",
                                         code=1)
            self.server.storescu("--to", *files, code=None)

            self.assertEqual({(o["outcome"], o["reason"]) for o in answer["outcomes"]}, {("REJECTED", reason)})
            self.assertNotIn("REFUSED", [s["label"] for s in self.server.prearchive()])
            uids = {str(pydicom.dcmread(f).SOPInstanceUID) for f in files}
            self.expect_gone(uids | {f"Refusovsky{number}"})

    def test_preambles_are_kept_as_sent_or_cleared_by_setting_and_by_any_script(self):
        self.server.narthex("anon", "disable")  # what former tests left in force
        self.server.narthex("project", "create", "PREAMBLES")  # without a script of its own
        self.addCleanup(self.server.narthex, "settings", "set", "prearchive.preambles", "keep")
        polyglot = b"MZ\x90\0#!/bin/sh\necho run\n".ljust(128, b"\0")
        for number, (setting, script, preamble, size) in enumerate([
                ("keep", None, polyglot, 32), ("clear", None, bytes(128), 32), ("clear", None, bytes(128), 256),
                ("keep", "// a comment\n", bytes(128), 32)]):
            with self.subTest(setting=setting, script=script, size=size):
                label = f"PREAMBLE{number}"
                self.server.narthex("settings", "set", "prearchive.preambles", setting)
                if script:
                    self.site(script, "--profile", "none")
                image = phantom(self.folder / label, series=1, slices=1, session=label, seed=300 + number, size=size)[0]
                sent = polyglot + image.read_bytes()[128:]
                image.write_bytes(sent)
                told = self.server.narthex("upload", image, "--project", "PREAMBLES", "--subject", "S", "--session", label,
                                           "--archive")
                archived = next((self.server.data_dir / "d/archive/PREAMBLES").rglob(f"{label}/**/*.dcm"))
                kept = archived.read_bytes()
                self.assertEqual(archived.stat().st_mode & 0o111, 0, "an archived file can be executed")
                self.assertEqual(kept[:132], preamble + b"DICM")
                self.assertEqual(kept[132:] == sent[132:], script is None)
                self.assertEqual([o["outcome"] for o in told["outcomes"]], ["STORED"])
                self.assertEqual(self.server.narthex("session", "check", f"PREAMBLES/{label}").get("findings", []), [])
        self.server.narthex("settings", "set", "prearchive.preambles", "burn", code=1)

    def test_c_scripts_with_errors_are_not_put_in_force(self):
        bad = self.script('version "6.1"\n(0010,0010) := nosuch[subject]\n')
        checked = self.server.narthex("anon", "check", bad, code=1)
        self.assertEqual([(d["line"], d["code"]) for d in checked["diagnostics"]], [(2, "UNKNOWN_FUNCTION")])
        stored = self.server.narthex("anon", "set", bad, "--project", "P2")
        self.assertFalse(stored["enabled"])
        self.assertEqual(stored["diagnostics"][0]["code"], "UNKNOWN_FUNCTION")
        self.server.narthex("anon", "enable", "--project", "P2", code=1)
        self.assertFalse(self.server.narthex("anon", "get", "--project", "P2")["enabled"])
        self.server.narthex("anon", "enable", "--project", "P2", "--profile", "basic,no-such-option", code=1)

    def test_d_a_preview_says_what_the_archive_then_does(self):
        self.server.narthex("upload", *self.images, "--project", "P3", "--subject", "S3", "--session", "E3")
        session = self.server.prearchive("--project", "P3")[0]["name"]
        script = self.script(PROJECT_SCRIPT)
        preview = self.server.narthex("anon", "preview", script, "--project", "P3", "--prearchive", session)
        self.assertEqual(preview["objectCount"], len(self.images))
        changes = {change["keyword"]: change for change in preview["changes"]}
        self.assertEqual(changes["SOPInstanceUID"]["objectCount"], len(self.images))
        self.assertTrue(changes["SOPInstanceUID"]["varying"])
        self.assertEqual(changes["StudyDescription"]["after"], "P3")
        one = self.server.narthex("anon", "preview", script, "--project", "P3", "--file", self.images[0])
        self.assertEqual(one["objectCount"], 1)
        expected = {c["keyword"]: c["after"] for c in one["changes"]}["SOPInstanceUID"]

        self.server.narthex("anon", "set", script, "--project", "P3")
        self.server.narthex("anon", "enable", "--project", "P3")
        uid = str(pydicom.dcmread(self.images[0], stop_before_pixels=True).SOPInstanceUID)
        header = self.server.narthex("prearchive", "header", session, "--instance", uid, "--preview")
        self.assertEqual({c["keyword"]: c["after"] for c in header["changes"]}["SOPInstanceUID"], expected)
        self.server.narthex("prearchive", "archive", session)

        files = {file["instanceUid"]: file for file in self.server.files("P3/E3") if file["format"] == "DICOM"}
        self.assertIn(expected, files)
        self.assertNotIn(uid, files)
        for path in self.download("P3/E3"):
            data = pydicom.dcmread(path)
            self.assertIn(str(data.SOPInstanceUID), files)
            self.assertEqual(data.StudyDescription, "P3")
            self.assertEqual(data.file_meta.MediaStorageSOPInstanceUID, data.SOPInstanceUID)
            original = next(f for f in self.images if pydicom.dcmread(f).InstanceNumber == data.InstanceNumber
                            and pydicom.dcmread(f).SeriesNumber == data.SeriesNumber)
            self.assertEqual(data.PixelData, pydicom.dcmread(original).PixelData)
        self.assertIn("project script", str(self.server.narthex("session", "history", "P3/E3")))

    def test_e_sessions_with_leftovers_are_held_back(self):
        self.server.narthex("anon", "set", self.script('version "6.1"\n(0010,0010) := subject\n'), "--project", "P4")
        self.server.narthex("anon", "enable", "--project", "P4", "--leftovers", "hold")
        path = self.folder / "left.dcm"
        data = pydicom.dcmread(self.images[0])
        data.PatientName = "Rumpelstiltskin^Max"
        data.ImageComments = "seen with Rumpelstiltskin today"
        data.save_as(path)
        self.server.narthex("upload", path, "--project", "P4", "--subject", "S4", "--session", "E4")
        session = self.server.prearchive("--project", "P4")[0]["name"]

        self.server.narthex("prearchive", "archive", session, code=1)

        held = self.server.narthex("prearchive", "show", session)
        self.assertEqual(held["state"], "CONFLICT")
        self.assertIn(("PatientName", "ImageComments"), [(l["source"], l["keyword"]) for l in held["leftovers"]])
        self.assertNotIn("Rumpelstiltskin", str(held))
        self.server.narthex("prearchive", "update", session, "--accept-leftovers")
        self.server.narthex("prearchive", "archive", session)
        self.assertIn("left: PatientName in ImageComments", str(self.server.narthex("session", "history", "P4/E4")))

    def test_ea_large_documents_are_searched_by_both_doors(self):
        """The name stands far behind what is held with a header."""
        self.server.narthex("anon", "set", self.script('version "6.1"\n(0010,0010) := subject\n'), "--project", "P4")
        self.server.narthex("anon", "enable", "--project", "P4", "--leftovers", "hold")
        self.addCleanup(self.server.narthex, "anon", "disable", "--project", "P4")
        data = pydicom.dcmread(self.images[0])
        del data.PixelData
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
        data.PatientName = "Rumpelstiltskin^Max"
        data.MIMETypeOfEncapsulatedDocument = "application/pdf"
        document = bytearray(b"%PDF-1.4 " + b"x" * (3 << 20) + b" ")
        document[2 << 20:(2 << 20) + 17] = b" rumpelstiltskin "
        data.EncapsulatedDocument = bytes(document)
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
                data.StudyInstanceUID = pydicom.uid.generate_uid()
                data.PatientComments = f"Project:P4 Subject:S4 Session:DOC_{door}"
                path = self.folder / f"document{door}.dcm"
                data.save_as(path)
                if door == "GRPC":
                    self.server.narthex("upload", path, "--project", "P4", "--subject", "S4", "--session", f"DOC_{door}")
                else:
                    self.server.storescu("--to", path, tool="dcmsend")
                session = next(s for s in self.server.prearchive("--project", "P4")
                               if s["studyInstanceUid"] == data.StudyInstanceUID)["name"]
                if self.server.narthex("prearchive", "show", session)["state"] == "RECEIVING":
                    self.server.narthex("prearchive", "build", session)

                self.server.narthex("prearchive", "archive", session, code=1)

                held = self.server.narthex("prearchive", "show", session)
                self.assertIn(("PatientName", "EncapsulatedDocument"), [(l["source"], l["keyword"]) for l in held["leftovers"]])
                self.server.narthex("prearchive", "delete", session)

    def test_f_local_anonymization_is_verified(self):
        self.site(SITE_SCRIPT, "--profile", "basic")
        files = self.images[:2]
        arguments = ("--project", "P2", "--subject", "S2", "--session", "LOCAL", "--local-anonymize")
        self.server.narthex("settings", "set", "anonymize.trusted_uploaders", "admin")
        self.addCleanup(self.server.narthex, "settings", "set", "anonymize.trusted_uploaders", "")

        local = self.server.narthex("upload", *files, *arguments)
        self.server.narthex("upload", *files, "--project", "P2", "--subject", "S2", "--session", "REMOTE")

        self.assertEqual({o["outcome"] for o in local["outcomes"]}, {"STORED"})
        uids = {}
        for label in ("LOCAL", "REMOTE"):
            session = next(s for s in self.server.prearchive("--project", "P2") if s["label"] == label)
            outcomes = self.server.narthex("prearchive", "outcomes", session["name"])["outcomes"]
            uids[label] = {o["sopInstanceUid"] for o in outcomes}
        self.assertEqual(uids["LOCAL"], uids["REMOTE"])
        # The server takes nobody else's word: it applies its scripts again.
        self.server.narthex("settings", "set", "anonymize.trusted_uploaders", "")
        again = self.server.narthex("upload", *files, *arguments[:-2], "TWICE", "--local-anonymize")
        self.assertEqual({o["outcome"] for o in again["outcomes"]}, {"STORED"})
        session = next(s for s in self.server.prearchive("--project", "P2") if s["label"] == "TWICE")
        outcomes = self.server.narthex("prearchive", "outcomes", session["name"])["outcomes"]
        self.assertTrue({o["sopInstanceUid"] for o in outcomes}.isdisjoint(uids["REMOTE"]))


if __name__ == "__main__":
    unittest.main()
