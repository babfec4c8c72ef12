"""Local de-identification of whatever an upload may be made of, continued after a kill, and looked at by the server."""

import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import unittest
import zipfile

import pydicom

from harness import BIN, Server, needs_shared, phantom, shared_folder
from test_anonymize import everything

SITE = """version "6.1"
(0010,0010) := subject
(0010,0020) := session
(0008,0018) := hashUID[(0008,0018)]
"""


@needs_shared
class LocalAnonymize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-local-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.images = sorted((shared_folder() / "data/dicom-mr-siemens-skyra").rglob("*.dcm"))[:6]
        cls.server.narthex("project", "create", "P1")
        cls.server.narthex("settings", "set", "anonymize.trusted_uploaders", "admin")
        cls.set_script(SITE)
        cls.set_script('version "6.1"\n(0008,1030) := project\n', "--project", "P1")

    @classmethod
    def set_script(cls, text, *flags, profile="none"):
        path = cls.folder / "script.das"
        path.write_text(text)
        cls.server.narthex("anon", "set", path, *flags)
        cls.server.narthex("anon", "enable", "--profile", profile, *flags)

    def test_archives_and_files_together(self):
        package = self.folder / "a.zip"
        with zipfile.ZipFile(package, "w") as out:
            out.write(self.images[1], "x/one.dcm")
            out.writestr("notes.txt", "no image")
            inner = self.folder / "inner.tar.gz"
            with tarfile.open(inner, "w:gz") as nested:
                nested.add(self.images[2], "deep/two.dcm")
            out.write(inner, "inner.tar.gz")
        tar = self.folder / "b.tar"
        with tarfile.open(tar, "w") as out:
            out.add(self.images[3], "three.dcm")

        sent = self.server.narthex("upload", self.images[0], package, tar, "--project", "P1", "--subject", "S1",
                                   "--session", "ALL", "--local-anonymize", code=1)

        outcomes = {pathlib.Path(o["path"]).name: (o["outcome"], o["path"]) for o in sent["outcomes"]}
        self.assertEqual(outcomes.pop("notes.txt")[0], "REJECTED")
        self.assertEqual({name: outcome for name, (outcome, _) in outcomes.items()},
                         {self.images[0].name: "STORED", "one.dcm": "STORED", "two.dcm": "STORED", "three.dcm": "STORED"})
        self.assertTrue(outcomes["two.dcm"][1].endswith("a.zip/inner.tar.gz/deep/two.dcm"))
        local = sent["localAnonymization"]
        self.assertEqual((local["fileCount"], local["refusedCount"], local["trusted"]), (4, 1, True))
        self.assertEqual(local["changedFiles"]["PatientName"], 4)
        self.assertEqual([step.split()[:2] for step in local["steps"]], [["site", "script"], ["project", "script"]])
        session, = [s for s in self.server.prearchive("--project", "P1") if s["label"] == "ALL"]
        self.server.narthex("prearchive", "archive", session["name"])
        # What was done on this machine is not done again, but looked at.
        self.assertIn("site script", str(self.server.narthex("session", "history", "P1/ALL")))
        files = self.folder / "all"
        self.server.narthex("session", "download", "P1/ALL", "-o", files)
        for path in files.rglob("*.dcm"):
            data = pydicom.dcmread(path)
            self.assertEqual((data.PatientName, data.PatientID, data.StudyDescription), ("S1", "ALL", "P1"))

    def test_without_a_destination_the_server_routes(self):
        sent = self.server.narthex("upload", *self.images[:2], "--local-anonymize")
        self.assertEqual([step.split()[0] for step in sent["localAnonymization"]["steps"]], ["site"])
        session, = sent["prearchiveSessions"]
        raw = pydicom.dcmread(self.images[0])
        clean = "".join(c if c.isalnum() or c in "-_" else "_" for c in str(raw.PatientName))
        self.assertEqual((session.get("project", ""), session["subject"]), ("", clean))
        self.server.narthex("prearchive", "delete", session["name"])

        self.set_script(SITE, profile="basic")
        self.addCleanup(self.set_script, SITE)
        marked = []
        for path in self.images[:2]:
            data = pydicom.dcmread(path)
            data.PatientName, data.PatientID = "Rumpelstilz^Erna", "MRN0098231"
            marked.append(self.folder / f"marked-{path.name}")
            data.save_as(marked[-1])
        sent = self.server.narthex("upload", *marked, "--local-anonymize")
        session, = sent["prearchiveSessions"]
        self.assertRegex(session["subject"], "^anon-[0-9a-f]{16}$")
        for path, data in everything(self.server.data_dir).items():
            self.assertEqual([text for text in (b"Rumpelstilz", b"MRN0098231") if text in data], [], path)
        self.server.narthex("prearchive", "delete", session["name"])

    def test_an_interrupted_upload_goes_on_with_the_same_copies(self):
        files = phantom(self.folder / "many", series=4, slices=60, size=128, seed=5)
        resume = self.folder / "resume"
        command = [BIN / "narthex", "--output", "json", "upload", *files, "--project", "P1", "--subject", "S", "--session",
                   "RESUMED", "--local-anonymize", "--resume", resume, "--jobs", "1"]
        environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        manifest = self.folder / "resume.copies/manifest"
        self.server.wait_for(lambda: manifest.exists() and manifest.read_text().count("\n") > 20, "some copies")
        process.send_signal(signal.SIGKILL)
        process.wait()
        made = manifest.read_text().count("\ncopy ")
        self.assertEqual((self.folder / "resume.copies").stat().st_mode & 0o077, 0)

        sent = self.server.narthex(*command[3:])

        self.assertGreaterEqual(sent["localAnonymization"]["reusedCount"], made - 1)
        self.assertEqual(sent["localAnonymization"]["fileCount"], len(files))
        self.assertEqual(sent["prearchiveSessions"][0]["objectCount"], len(files))
        self.assertFalse(resume.exists())
        self.assertFalse((self.folder / "resume.copies").exists())

    def test_the_summary_can_be_read(self):
        result = subprocess.run([BIN / "narthex", "upload", self.images[5], "--project", "P1", "--subject", "S", "--session",
                                 "READ", "--local-anonymize"], capture_output=True, text=True,
                                env=dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("anonymized on this machine: 1 files", result.stdout)
        self.assertRegex(result.stdout, r"PatientName +1")


if __name__ == "__main__":
    unittest.main()
