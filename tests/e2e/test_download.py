"""Getting archived sessions out: folder, zip and tar, chosen parts, after a broken run, during changes."""

import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest
import zipfile

from harness import BIN, Server, needs_shared, phantom, sha256, shared_folder


class Download(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(damage=("FILE_DIGEST",))
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.files = phantom(cls.folder / "images", session="D1", slices=6, size=256)
        cls.server.narthex("upload", cls.folder / "images", "--project", "P1", "--archive")
        (cls.folder / "note.txt").write_text("a remark")
        cls.server.narthex("session", "resource", "add", "P1/D1", "NOTES", cls.folder / "note.txt")
        cls.rows = {f["path"]: f for f in cls.server.files("P1/D1")}

    def destination(self, name):
        path = self.folder / name
        self.addCleanup(lambda: shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True))
        return path

    def tree(self, folder):
        return {str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()}

    def wanted(self, **fields):
        return {path: row["sha256"] for path, row in self.rows.items()
                if all(row.get(name) == value for name, value in fields.items())}

    def test_folder_zip_and_tar_hold_the_same_bytes(self):
        out = self.destination("out")
        answer = self.server.narthex("session", "download", "P1/D1", "-o", out, "--verify")
        self.assertEqual((answer["fileCount"], answer["verified"], answer["damaged"]), (len(self.rows), True, []))
        self.assertEqual(self.tree(out), self.wanted())
        for kind, opener in ((".zip", zipfile.ZipFile), (".tar", tarfile.open)):
            file = self.destination("out" + kind)
            self.server.narthex("session", "download", "P1/D1", "-o", file, "--verify")
            unpacked = self.destination("unpacked" + kind)
            with opener(file) as archive:
                archive.extractall(unpacked)
            self.assertEqual(self.tree(unpacked), self.wanted(), kind)
            self.assertFalse(pathlib.Path(f"{file}.part").exists())

    def test_chosen_scans_and_resources(self):
        scan = self.server.narthex("session", "scans", "P1/D1")["scans"][1]["id"]
        out = self.destination("chosen")
        self.server.narthex("session", "download", "P1/D1", "-o", out, "--scan", scan)
        self.assertEqual(self.tree(out), self.wanted(scan=scan))
        out = self.destination("notes.zip")
        self.server.narthex("session", "download", "P1/D1", "-o", out, "--resource", "NOTES")
        self.assertEqual(zipfile.ZipFile(out).namelist(), ["RESOURCES/NOTES/note.txt"])
        self.server.narthex("session", "download", "P1/D1", "-o", out, "--scan", "99", code=1)
        self.assertEqual(zipfile.ZipFile(out).namelist(), ["RESOURCES/NOTES/note.txt"])  # not touched

    def test_a_folder_is_completed_and_damage_repaired(self):
        out = self.destination("again")
        self.server.narthex("session", "download", "P1/D1", "-o", out)
        paths = sorted(p for p in out.rglob("*.dcm"))
        paths[0].unlink()
        paths[1].write_bytes(b"\0" * paths[1].stat().st_size)

        answer = self.server.narthex("session", "download", "P1/D1", "-o", out, "--verify")

        self.assertEqual((answer["fileCount"], answer["skippedCount"]), (2, len(self.rows) - 2))
        self.assertEqual(self.tree(out), self.wanted())

    def test_a_killed_download_goes_on(self):
        for name in ("killed", "killed.zip", "killed.tar"):
            out = self.destination(name)
            environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)
            client = subprocess.Popen([BIN / "narthex", "session", "download", "P1/D1", "-o", out], env=environment,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            part = pathlib.Path(f"{out}.part")
            self.server.wait_for(lambda: client.poll() is not None or out.is_dir() or part.exists(), "the first bytes")
            client.send_signal(signal.SIGKILL)
            client.wait()

            answer = self.server.narthex("session", "download", "P1/D1", "-o", out, "--verify")

            self.assertEqual(answer["fileCount"] + answer["skippedCount"], len(self.rows), name)
            self.assertEqual(answer["damaged"], [])
            self.assertFalse(part.exists())
            self.assertTrue(out.exists())

    def test_damage_in_the_archive_is_not_passed_on(self):
        files = phantom(self.folder / "bad", session="BAD1", seed=5, slices=3)
        self.server.narthex("upload", self.folder / "bad", "--project", "P1", "--archive")
        victim = next((self.server.data_dir / "d/archive/P1/arc001/BAD1").rglob("*.dcm"))
        bytes_ = bytearray(victim.read_bytes())
        bytes_[-1] ^= 1
        victim.write_bytes(bytes_)

        out = self.destination("bad-out")
        answer = self.server.narthex("session", "download", "P1/BAD1", "-o", out, code=1)

        self.assertEqual(answer["error"]["reason"], "ARCHIVED_BYTES_CORRUPT")
        self.assertNotIn(sha256(victim), self.tree(out).values())
        self.assertLess(len(self.tree(out)), len(files))

    def test_renaming_and_moving_during_a_download(self):
        self.server.narthex("project", "create", "P9")
        phantom(self.folder / "busy", session="BUSY1", seed=7, slices=20, size=256)
        self.server.narthex("upload", self.folder / "busy", "--project", "P1", "--archive")
        session = self.server.narthex("session", "show", "P1/BUSY1")["accessionId"]
        rows = {f["path"]: f["sha256"] for f in self.server.files(session)}
        stop = threading.Event()
        errors = []

        def rename():
            n = 0
            while not stop.is_set():
                n += 1
                result = self.server.run("session", "update", session, "--label", f"BUSY{n % 7}", "--project",
                                         ("P1", "P9")[n % 2])
                if result.returncode != 0:
                    errors.append(result.stdout)

        renamer = threading.Thread(target=rename)
        renamer.start()
        try:
            for n in range(3):
                out = self.destination(f"busy{n}")
                self.server.narthex("session", "download", session, "-o", out, "--verify")
                self.assertEqual(self.tree(out), rows)
        finally:
            stop.set()
            renamer.join()
        self.assertEqual(errors, [])
        self.assertEqual(self.server.run("session", "check", session).returncode, 0)

    @needs_shared
    def test_real_images_come_back_as_they_were_sent(self):
        folder = next((shared_folder() / "data").rglob("dicom-mr-philips-achieva-parrec"))
        answer = self.server.narthex("upload", folder, "--project", "P1", "--session", "REAL1", "--subject", "REAL",
                                     "--archive", code=None)
        stored = {sha256(outcome["path"]) for outcome in answer["outcomes"] if outcome["outcome"] == "STORED"}
        self.assertGreaterEqual(len(stored), 7)
        out = self.destination("real.zip")
        self.server.narthex("session", "download", "P1/REAL1", "-o", out, "--verify")
        unpacked = self.destination("real")
        with zipfile.ZipFile(out) as archive:
            archive.extractall(unpacked)
        self.assertEqual(set(self.tree(unpacked).values()), stored)
        self.assertEqual(self.server.run("session", "check", "P1/REAL1").returncode, 0)


if __name__ == "__main__":
    unittest.main()
