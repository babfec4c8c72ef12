"""Planted names on the way into the archive: what a project's profile and script take away is in nothing that is kept
once a session is archived, nor after later objects were merged into it, by either door."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.request

import pydicom
from pydicom.sequence import Sequence

from harness import ROOT, Server, needs_shared, shared_folder

# The names that others planted in the real images (INDEX.md there), and one that only stands where a name can hide.
NAME, PATIENT_ID, HOSPITAL, NURSE, HIDDEN = "Winterbottom", "MRN-0098231", "St Elsewhere General", "Olga", "Quendelbach"
PLANTED = re.compile(rb"winterbottom|mrn-?0098231|st elsewhere|\bolga\b|rudolf|quendelbach|kaufman|1917-?03-?17"
                     rb"|w\0i\0n\0t\0e\0r\0b", re.IGNORECASE)
SCRIPT = 'version "6.6"\n(0010,0010) := subject\n(0010,0020) := session\n(0008,1030) := project\n'


def plant(source, target, note):
    """A real image with the names in every place where one can hide; other bytes with another note."""
    image = pydicom.dcmread(source)
    image.PatientName = f"{NAME}^Rosalind"
    image.PatientID = PATIENT_ID
    image.PatientBirthDate = "19170317"
    image.InstitutionName = HOSPITAL
    image.OperatorsName = f"{NURSE}^Nurse"
    image.ReferringPhysicianName = "Rudolf^Dr"
    image.AccessionNumber = PATIENT_ID
    image.StudyDescription = f"{NAME} {note}"
    image.SeriesDescription = f"{image.get('SeriesDescription', 'S')} {HIDDEN}"
    image.ProtocolName = f"Protocol of {HIDDEN}"
    image.StationName = HIDDEN
    image.ImageComments = f"{NURSE} saw {NAME}, {PATIENT_ID}, {note}"
    image.OtherPatientIDs = [PATIENT_ID, HIDDEN]
    block = image.private_block(0x0099, "SECRET VENDOR", create=True)
    block.add_new(0x01, "LO", NAME)
    block.add_new(0x02, "OB", b"\1\2" + PATIENT_ID.encode() + b"\0" + HIDDEN.encode("utf-16-le") + b"\0")
    block.add_new(0x03, "UN", HIDDEN.encode() + b" ")
    inner = pydicom.Dataset()
    inner.PatientName = f"{NAME}^Rosalind"
    inner.RequestingPhysician = HIDDEN
    image.RequestAttributesSequence = Sequence([inner])
    text = pydicom.Dataset()
    text.ValueType = "TEXT"
    text.TextValue = f"Report on {NAME} ({PATIENT_ID})"
    image.ContentSequence = Sequence([text])
    image.add_new(0xFFFCFFFC, "OB", HIDDEN.encode() + b" ")
    image.preamble = (b"II*\0" + NAME.encode()).ljust(128, b"\0")
    image.file_meta.SourceApplicationEntityTitle = HIDDEN
    image.save_as(target)
    return target


@needs_shared
class Planted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--metrics-listen", "127.0.0.1:0", "--log-level", "debug"])
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-planted-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        data = shared_folder() / "data"
        cls.series = [sorted((data / f"dicom-mr-ge-mr750/mr_000{series}").glob("*.dcm"))[:4] for series in (4, 5)]
        cls.burned = data / "dicom-burnedin-pixels/2_ORIGINAL.dcm"
        script = cls.folder / "script.das"
        script.write_text(SCRIPT)
        for project in ("GRPC", "DIMSE"):
            cls.server.narthex("project", "create", project)
            cls.server.narthex("anon", "set", script, "--project", project)
            cls.server.narthex("anon", "enable", "--project", project, "--profile", "basic", "--leftovers", "report")

    def planted(self, files, note=""):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        return [plant(file, folder / file.name, note) for file in files]

    def send(self, door, files):
        """The prearchive session that `files` make in the project that is called as the door."""
        if door == "GRPC":
            self.server.narthex("upload", *files, "--project", "GRPC", "--subject", "S1", "--session", "E1")
        else:
            self.server.storescu("--to", *files)
            [pushed] = self.server.prearchive("--unassigned")
            self.server.narthex("prearchive", "update", pushed["name"], "--project", "DIMSE", "--subject", "S1", "--label", "E1")
        [session] = self.server.prearchive("--project", door)
        if session["state"] == "RECEIVING":
            self.server.narthex("prearchive", "build", session["name"])
        return session["name"]

    def dump(self):
        binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        socket = next((self.server.data_dir / "d/postgres").rglob(".s.PGSQL.*")).parent
        role = re.search(r'kRole\[\] = "(\w+)"', (ROOT / "storage/metadata/managed_postgres.cc").read_text())[1]
        return subprocess.run([binaries / "pg_dump", "--inserts", "-h", socket, "-U", role, "narthex"], check=True,
                              capture_output=True).stdout

    def expect_clean(self, what, data):
        found = PLANTED.search(data)
        self.assertIsNone(found, f"{what} holds {found and data[max(0, found.start() - 60):found.end() + 20]}")

    def look_everywhere(self, door, when):
        archive = self.server.data_dir / "d/archive"
        kinds = set()
        for path in archive.rglob("*"):
            self.expect_clean(f"{when}: the name {path}", str(path).encode())
            if not path.is_file():
                continue
            kinds.add(path.suffix)
            content = path.read_bytes()
            if path.suffix == ".dcm":  # pixels hold any five letters
                image = pydicom.dcmread(path)
                self.assertEqual(image.PatientName, "S1")
                content = content.replace(bytes(image.PixelData), b"")
            self.expect_clean(f"{when}: {path}", content)
        self.assertLessEqual({".dcm", ".xml"}, kinds)
        for command in ("show", "scans", "files", "history"):
            self.expect_clean(f"{when}: session {command}", self.server.run("session", command, f"{door}/E1").stdout.encode())
        document = self.server.run("session", "show", f"{door}/E1", "--xml").stdout
        self.assertIn("MRSession", document)
        self.expect_clean(f"{when}: the session's document", document.encode())
        for statement in self.dump().split(b";\n"):
            self.expect_clean(f"{when}: the database", statement)
        for log in (self.server.data_dir / "narthexd.log", self.server.data_dir / "d/postgres/postgres.log"):
            self.expect_clean(f"{when}: {log.name}", log.read_bytes())
        with urllib.request.urlopen(f"http://{self.server.ready['metrics']}/metrics", timeout=10) as page:
            self.expect_clean(f"{when}: the metrics", page.read())
        # Staging kept it until the archive had it, and no longer.
        self.assertEqual([p for p in (self.server.data_dir / "d/staging").rglob("*.seg") if PLANTED.search(p.read_bytes())], [])

    def whole_story(self, door):
        session = self.send(door, self.planted(self.series[0][:3]))
        segments = [path.read_bytes() for path in (self.server.data_dir / "d/staging").rglob("*.seg")]
        self.assertTrue(any(PLANTED.search(content) for content in segments), "the search finds what is there")
        self.server.narthex("prearchive", "archive", session)
        self.look_everywhere(door, "archived")

        more = self.planted(self.series[1], "later") + self.planted(self.series[0][3:], "later")
        answer = self.server.narthex("prearchive", "archive", self.send(door, more), "--conflict", "append")
        self.assertEqual(answer["mergeResult"]["addedCount"], len(more), answer)
        self.look_everywhere(door, "appended")

        again = self.planted(self.series[0], "once more")
        answer = self.server.narthex("prearchive", "archive", self.send(door, again), "--conflict", "overwrite")
        self.assertEqual(answer["mergeResult"]["replacedCount"], len(again), answer)
        self.look_everywhere(door, "overwritten")

    def test_nothing_planted_is_kept_of_uploads(self):
        self.whole_story("GRPC")

    def test_nothing_planted_is_kept_of_pushes(self):
        self.whole_story("DIMSE")

    def test_names_that_others_planted(self):
        """The header says the name that the pixels show."""
        before = pydicom.dcmread(self.burned)
        self.assertIn("KAUFMAN", str(before.PatientName))
        self.server.narthex("upload", self.burned, "--project", "GRPC", "--subject", "S1", "--session", "E1")
        session = next(s for s in self.server.prearchive("--project", "GRPC") if s["modality"] == "CT")
        self.server.narthex("prearchive", "update", session["name"], "--label", "BURNED")
        self.server.narthex("prearchive", "archive", session["name"])
        [path] = (self.server.data_dir / "d/archive").rglob("BURNED/**/*.dcm")
        image = pydicom.dcmread(path)
        self.assertEqual(image.PixelData, before.PixelData)
        self.expect_clean(path, path.read_bytes().replace(bytes(image.PixelData), b""))
        self.expect_clean("the database", self.dump())


if __name__ == "__main__":
    unittest.main()
