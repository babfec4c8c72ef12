"""`narthex session check`: what is found when catalog, database, document and disk disagree, and what is put right."""

import itertools
import json
import pathlib
import shutil
import tempfile
import threading
import unittest

from harness import Server, phantom, sha256


class SessionCheck(unittest.TestCase):
    seeds = itertools.count(200)

    @classmethod
    def setUpClass(cls):
        cls.server = Server(damage=("FILE_MISSING", "FILE_DIGEST", "FILE_SIZE"))
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.pauses = cls.folder / "pauses"
        cls.pauses.mkdir()
        cls.server.environment["NARTHEX_PAUSE_POINTS"] = str(cls.pauses)
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")

    def archived(self, label):
        phantom(self.folder / label, session=label, seed=next(self.seeds), slices=3)
        self.server.narthex("upload", self.folder / label, "--project", "P1", "--archive")
        return self.server.data_dir / "d/archive/P1/arc001" / label

    def check(self, reference, *flags, code=0):
        """(kind, repaired) of each finding, and the summary."""
        result = self.server.run("session", "check", reference, *flags)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return sorted((line["finding"]["kind"], line["finding"]["repaired"]) for line in lines if "finding" in line), \
            lines[-1]["summary"]

    def test_a_good_session(self):
        self.archived("GOOD1")
        findings, summary = self.check("P1/GOOD1")
        self.assertEqual(findings, [])
        session = self.server.narthex("session", "show", "P1/GOOD1")
        self.assertEqual((summary["fileCount"], summary["sizeBytes"]), (session["fileCount"], session["sizeBytes"]))

    def test_a_session_that_is_being_changed(self):
        """What disagrees only because it was read before and after a change is no finding."""
        self.archived("BUSY1")
        (self.folder / "note.txt").write_text("a note")
        place = self.pauses / "check.read"
        place.touch()
        found = []
        checking = threading.Thread(target=lambda: found.append(self.check("P1/BUSY1", "--repair")))
        checking.start()
        self.server.wait_for(place.with_name(place.name + ".reached").exists, "the check")

        self.server.narthex("session", "resource", "add", "P1/BUSY1", "NOTES", self.folder / "note.txt")
        self.server.narthex("session", "scan", "update", "P1/BUSY1", "1", "--note", "meanwhile")
        place.unlink()
        checking.join()

        self.assertEqual(found[0][0], [])
        self.assertEqual({entry["action"] for entry in self.server.narthex("session", "history", "P1/BUSY1")["entries"]}
                         & {"REPAIR"}, set())

    def test_catalogs_are_written_anew(self):
        folder = self.archived("CAT1")
        first, second = sorted(folder.rglob("*_catalog.xml"))[:2]
        original = first.read_text()
        first.unlink()
        second.write_text(second.read_text().replace("digest=\"", "digest=\"00", 1))

        self.assertEqual(self.check("P1/CAT1", code=1)[0], [("CATALOG_DIFFERS", False), ("CATALOG_MISSING", False)])
        self.assertEqual(self.check("P1/CAT1", "--repair")[0], [("CATALOG_DIFFERS", True), ("CATALOG_MISSING", True)])

        self.assertEqual(self.check("P1/CAT1")[0], [])
        self.assertEqual(first.read_text().count("cat:entry "), original.count("cat:entry "))
        entry = self.server.narthex("session", "history", "P1/CAT1")["entries"][0]
        self.assertEqual((entry["action"], entry["after"]["repair.catalogs"]), ("REPAIR", "2"))
        second.write_text("this is no catalog")
        self.assertEqual(self.check("P1/CAT1", "--repair")[0], [("CATALOG_INVALID", True)])
        self.assertEqual(self.check("P1/CAT1")[0], [])

    def test_missing_and_damaged_files_are_told_and_left(self):
        folder = self.archived("BAD1")
        missing, damaged, short = sorted(folder.rglob("*.dcm"))[:3]
        missing.unlink()
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
        short.write_bytes(short.read_bytes()[:-1])

        expected = [("FILE_DIGEST", False), ("FILE_MISSING", False), ("FILE_SIZE", False)]
        self.assertEqual(self.check("P1/BAD1", code=1)[0], expected)
        self.assertEqual(self.check("P1/BAD1", "--repair", code=1)[0], expected)
        self.assertEqual(self.check("P1/BAD1", "--sizes-only", code=1)[0], expected[1:])
        self.assertEqual(self.server.narthex("session", "show", "P1/BAD1")["fileCount"], 6)

    def test_files_that_nobody_knows_are_taken_in_on_request_only(self):
        folder = self.archived("NEW1")
        (folder / "RESOURCES/EXTRA").mkdir(parents=True)
        (folder / "RESOURCES/EXTRA/a.txt").write_text("hello")
        scan = next((folder / "SCANS").iterdir())
        other = self.archived("NEW2")
        image = next(other.rglob("*.dcm"))
        shutil.copy(image, scan / "DICOM/late.dcm")
        (scan / "DICOM/no-image.dcm").write_text("this is no image")
        (folder / "stray").write_text("nowhere")

        four = [("UNREFERENCED_FILE", False)] * 4
        self.assertEqual(self.check("P1/NEW1", code=1)[0], four)
        self.assertEqual(self.check("P1/NEW1", "--repair", code=1)[0], four)
        findings, _ = self.check("P1/NEW1", "--repair", "--adopt", code=1)

        self.assertEqual(findings, [("UNREFERENCED_FILE", False)] * 2 + [("UNREFERENCED_FILE", True)] * 2)
        rows = {f["path"]: f for f in self.server.files("P1/NEW1")}
        self.assertEqual(rows["RESOURCES/EXTRA/a.txt"]["sha256"], sha256(folder / "RESOURCES/EXTRA/a.txt"))
        late = rows[f"SCANS/{scan.name}/DICOM/late.dcm"]
        self.assertTrue(late["instanceUid"])
        self.assertEqual(self.server.narthex("session", "show", "P1/NEW1")["fileCount"], 8)
        (scan / "DICOM/no-image.dcm").unlink()
        (folder / "stray").unlink()
        self.assertEqual(self.check("P1/NEW1")[0], [])


if __name__ == "__main__":
    unittest.main()
