"""Auto-archive, through both doors: its codes per project, per upload and from comments (`AA:`), what each does with a session
that is in the archive already, and quarantine. What receivers say of it is in test_receiver_switches.py."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import Server, needs_shared, shared_folder


class AutoArchive:
    """What holds through either door; a class below each says how its objects come."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.source = sorted((shared_folder() / "data/dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))
        for project, mode in (("MANUAL", "manual"), ("AUTO", "auto"), ("OVER", "overwrite")):
            cls.server.narthex("project", "create", project)
            cls.server.narthex("project", "update", project, "--auto-archive", mode)

    def copy(self, numbers, *changes):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        files = [pathlib.Path(shutil.copy(file, folder)) for file in self.source[numbers]]
        if changes:
            subprocess.run(["dcmodify", "-nb", *[word for change in changes for word in ("-i", change)], *map(str, files)],
                           check=True, capture_output=True)
        return files

    def settled(self, project, label):
        """The prearchive session of this label when nothing more happens to it by itself, or None."""
        def look():
            rows = [row for row in self.server.prearchive("--project", project) if row["label"] == label]
            return not rows or rows[0]["state"] in ("READY", "CONFLICT", "ERROR")
        self.server.wait_for(look, f"{label} to settle")
        rows = [row for row in self.server.prearchive("--project", project) if row["label"] == label]
        return rows[0] if rows else None

    def archived(self, reference):
        return {f["instanceUid"]: f["sha256"] for f in self.server.files(reference)}

    def test_manual_waits(self):
        self.upload("MANUAL", "M", self.copy(slice(0, 2)))

        self.assertEqual(self.settled("MANUAL", "M")["state"], "READY")

    def test_auto_merges_and_keeps_overwrite_merges_and_replaces(self):
        for project in ("AUTO", "OVER"):
            with self.subTest(project):
                self.upload(project, "A", self.copy(slice(0, 2)))
                self.assertIsNone(self.settled(project, "A"))
                before = self.archived(f"{project}/A")

                # Late objects of an archived session; one of them has changed.
                self.upload(project, "A", self.copy(slice(0, 1), "ImageComments=changed") + self.copy(slice(2, 4)))

                self.assertIsNone(self.settled(project, "A"))
                after = self.archived(f"{project}/A")
                self.assertEqual(len(after), 4)
                changed = sum(after[uid] != digest for uid, digest in before.items())
                self.assertEqual(changed, 0 if project == "AUTO" else 1)

    def test_what_cannot_be_merged_waits_for_a_person(self):
        self.upload("AUTO", "W", self.copy(slice(0, 2)))
        self.assertIsNone(self.settled("AUTO", "W"))
        self.upload("AUTO", "W", self.copy(slice(0, 2), "StudyInstanceUID=1.2.826.0.1.3680043.2.1125.78"))

        row = self.settled("AUTO", "W")

        self.assertEqual(row["state"], "CONFLICT")
        self.assertIn(5, {conflict["code"] for conflict in row["conflicts"]})
        self.assertEqual(len(self.archived("AUTO/W")), 2)

    def test_quarantine_by_project(self):
        self.server.narthex("project", "create", "QUAR")
        self.server.narthex("project", "update", "QUAR", "--auto-archive", "auto", "--quarantine", "on")
        self.upload("QUAR", "Q", self.copy(slice(0, 2)))
        self.assertIsNone(self.settled("QUAR", "Q"))
        self.assertEqual(self.server.narthex("session", "show", "QUAR/Q")["status"], "QUARANTINE")
        self.server.narthex("session", "activate", "QUAR/Q")

        self.upload("QUAR", "Q", self.copy(slice(2, 4)))

        # Nobody has looked at what came since.
        self.assertIsNone(self.settled("QUAR", "Q"))
        session = self.server.narthex("session", "show", "QUAR/Q")
        self.assertEqual((session["status"], session["fileCount"]), ("QUARANTINE", 4))


@needs_shared
class AutoArchiveByGrpc(AutoArchive, unittest.TestCase):
    def upload(self, project, label, files, *flags):
        self.server.narthex("upload", *files, "--project", project, "--subject", "S", "--session", label, *flags)

    def test_the_uploads_code_goes_before_the_projects(self):
        self.upload("MANUAL", "U", self.copy(slice(0, 2)), "--auto-archive", "auto")
        self.upload("AUTO", "U", self.copy(slice(0, 2)), "--auto-archive", "manual")

        self.assertIsNone(self.settled("MANUAL", "U"))
        self.assertEqual(len(self.archived("MANUAL/U")), 2)
        self.assertEqual(self.settled("AUTO", "U")["state"], "READY")

    def test_the_comments_code_through_both_doors(self):
        pushed = self.copy(slice(0, 2), "PatientComments=Project:MANUAL Subject:S Session:CD AA:true")
        uploaded = self.copy(slice(0, 2), "PatientComments=Project:MANUAL Subject:S Session:CG AA:true")

        self.server.storescu("--to", *pushed)
        row, = [row for row in self.server.prearchive("--project", "MANUAL") if row["label"] == "CD"]
        self.server.narthex("prearchive", "build", row["name"])
        self.server.narthex("upload", *uploaded)

        for label in ("CD", "CG"):
            self.assertIsNone(self.settled("MANUAL", label))
            self.assertEqual(len(self.archived(f"MANUAL/{label}")), 2)


@needs_shared
class AutoArchiveByDicom(AutoArchive, unittest.TestCase):
    def upload(self, project, label, files):
        subprocess.run(["dcmodify", "-nb", "-i", f"PatientComments=Project:{project} Subject:S Session:{label}", *files],
                       check=True, capture_output=True)
        self.server.storescu("--to", *files)
        row, = [row for row in self.server.prearchive("--project", project) if row["label"] == label]
        self.server.narthex("prearchive", "build", row["name"])


if __name__ == "__main__":
    unittest.main()
