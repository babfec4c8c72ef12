"""Backup of a server that is at work, and its way back onto an empty machine."""

import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import threading
import unittest

from harness import BIN, Server, phantom, sha256


class Backup(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def server(self, **more):
        server = Server(**more)
        self.addCleanup(server.__exit__)
        return server

    def refused(self, data, *flags):
        result = subprocess.run([BIN / "narthexd", "--data-dir", data, "--dicom-listen", "off", "--grpc-listen",
                                 "127.0.0.1:0", *map(str, flags)], capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 78, result.stderr)
        return result.stderr

    def test_what_was_acknowledged_before_is_there_after_the_way_back(self):
        server = self.server()
        server.start()
        server.narthex("project", "create", "P1")
        server.narthex("settings", "set", "prearchive.idle_build_seconds", "3600")
        filed = phantom(self.folder / "filed", session="FILED1")
        staged = phantom(self.folder / "staged", session="STAGED1", seed=2)
        server.narthex("upload", self.folder / "filed", "--project", "P1", "--archive")
        server.storescu("--to", "+sd", "+r", self.folder / "staged")
        phantom(self.folder / "busy", session="BUSY1", seed=3, slices=40)
        upload = threading.Thread(target=server.run, args=("upload", self.folder / "busy", "--project", "P1", "--archive"))
        upload.start()

        made = server.narthex("server", "backup", "monday")

        upload.join()
        path = pathlib.Path(made["path"])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        self.assertIn("BACKUP_EXISTS", server.run("server", "backup", "monday").stderr)
        self.assertNotEqual(server.run("server", "backup", "../evil").returncode, 0)
        # What happens afterwards is not in it, and what is removed afterwards still is.
        later = phantom(self.folder / "later", session="LATER1", seed=4)
        self.assertTrue(later)
        server.narthex("upload", self.folder / "later", "--project", "P1", "--archive")
        for row in server.prearchive():
            if row["label"] == "STAGED1":
                server.narthex("prearchive", "delete", row["name"])
        carried = self.folder / "carried"
        subprocess.run(["cp", "-a", path, carried], check=True)  # to the other machine
        token = server.token
        server.stop()
        shutil.rmtree(server.data_dir / "d")

        other = self.server(flags=["--restore-from", str(carried)])
        other.start()
        self.assertNotEqual(other.token, token, "the token's file is no part of a backup")
        labels = {session["label"] for session in other.sessions()}
        self.assertIn("FILED1", labels)
        self.assertNotIn("LATER1", labels)
        self.assertEqual(sorted(file["sha256"] for file in other.files("P1/FILED1")), sorted(map(sha256, filed)))
        rows = {row["label"]: row for row in other.prearchive()}
        self.assertEqual(rows["STAGED1"]["objectCount"], len(staged))
        other.narthex("prearchive", "build", rows["STAGED1"]["name"])
        other.narthex("prearchive", "archive", rows["STAGED1"]["name"])
        self.assertEqual(len(other.files("P1/STAGED1")), len(staged))
        other.wait_for(lambda: not [row for row in other.prearchive() if row["state"] in ("BUILDING", "ARCHIVING")],
                       "what the backup interrupted")
        other.stop()
        checked = subprocess.run([BIN / "narthex-verify", "--data-dir", other.data_dir / "d"], capture_output=True,
                                 text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        # A second start needs no flag, and with it refuses to touch what is there.
        self.assertIn("is not empty", self.refused(other.data_dir / "d", "--restore-from", carried))

    def test_merges_meanwhile_are_in_it_whole_or_not_at_all(self):
        server = self.server()
        server.start()
        server.narthex("project", "create", "P1")
        original = phantom(self.folder / "original", session="MERGED1", series=1, slices=20)
        server.narthex("upload", self.folder / "original", "--project", "P1", "--archive")
        done = threading.Event()
        merged = []

        def merge():
            while not done.is_set():
                changed = self.folder / f"changed{len(merged)}"
                changed.mkdir()
                for path in original:
                    # Another value of as many bytes: the same instances with other content.
                    bytes_ = path.read_bytes().replace(b"Phantom General", b"Phantom %07d" % len(merged))
                    (changed / path.name).write_bytes(bytes_)
                merged.append(server.run("upload", changed, "--project", "P1", "--archive", "--auto-archive", "overwrite"))

        merging = threading.Thread(target=merge)
        merging.start()
        self.addCleanup(merging.join)
        self.addCleanup(done.set)
        server.wait_for(lambda: len(merged) > 1, "two merges")
        backups = [pathlib.Path(server.narthex("server", "backup", f"backup{number}")["path"]) for number in range(2)]
        done.set()
        merging.join()
        self.assertEqual([one.returncode for one in merged], [0] * len(merged), [one.stderr for one in merged])

        for number, path in enumerate(backups):
            with Server(flags=["--restore-from", str(path)]) as other:
                # What the backup found on its way is there as far as it had come.
                other.wait_for(lambda: not [row for row in other.prearchive() if row["state"] in ("BUILDING", "ARCHIVING")],
                               "what the backup interrupted")
                self.assertEqual(len(other.files("P1/MERGED1")), len(original))
                other.stop()
                checked = subprocess.run([BIN / "narthex-verify", "--data-dir", other.data_dir / "d"], capture_output=True,
                                         text=True)
                self.assertEqual(checked.returncode, 0, f"backup {number}: {checked.stdout}{checked.stderr}")

    def test_what_is_no_backup_is_refused(self):
        (self.folder / "half").mkdir()
        self.assertIn("no backup.json", self.refused(self.folder / "new", "--restore-from", self.folder / "half"))
        interrupted = self.folder / "interrupted"
        interrupted.mkdir()
        (interrupted / "restoring").touch()
        self.assertIn("was interrupted", self.refused(interrupted))


if __name__ == "__main__":
    unittest.main()
