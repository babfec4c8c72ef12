"""Backup of a server that is at work, and its way back onto an empty machine."""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import threading
import unittest

import external_postgres
from harness import BIN, Server, phantom, sha256
from test_types import PHOTOACOUSTIC


class Case(unittest.TestCase):
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

    def refused_untouched(self, *flags):
        """What is said by a start that leaves nothing of a restore in its new data directory."""
        data = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        said = self.refused(data / "d", *flags)
        left = [path for path in (data / "d").rglob("*") if path.is_file()]
        self.assertEqual([path.name for path in left], ["lock"], said)
        return said

    def filed_and_staged(self, **more):
        """A server with one archived session and one in the prearchive."""
        server = self.server(**more)
        server.start()
        server.narthex("project", "create", "P1")
        server.narthex("settings", "set", "prearchive.idle_build_seconds", "3600")
        self.filed = phantom(self.folder / "filed", session="FILED1")
        phantom(self.folder / "staged", session="STAGED1", seed=2)
        server.narthex("upload", self.folder / "filed", "--project", "P1", "--archive")
        server.storescu("--to", "+sd", "+r", self.folder / "staged")
        return server

    def backup(self, server, name):
        return pathlib.Path(server.narthex("server", "backup", name)["path"])

    def restored(self, *flags):
        """What of filed_and_staged is there after the way back; it is verified when the server stops."""
        with Server(flags=list(map(str, flags))) as other:
            if "--postgres" not in other.flags or "managed" in other.flags:
                marked = other.sql("SELECT count(*) FROM pg_proc WHERE proleakproof AND proname IN ('textlike', 'number_of')")
                self.assertEqual(marked.strip(), "2", "searches are slow without (migrate.cc)")
            return ([session["label"] for session in other.sessions()], [row["label"] for row in other.prearchive()],
                    len(other.files("P1/FILED1")) if other.sessions() else 0)

    def whole(self):
        return ["FILED1"], ["STAGED1"], len(self.filed)


class Backup(Case):
    def test_what_was_acknowledged_before_is_there_after_the_way_back(self):
        server = self.server()
        (server.data_dir / "d/types").mkdir(parents=True)
        (server.data_dir / "d/types/pa.toml").write_text(PHOTOACOUSTIC)
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
        self.assertEqual((other.data_dir / "d/types/pa.toml").read_text(), PHOTOACOUSTIC)
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
        checked = other.verify()
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
                checked = other.verify()
                self.assertEqual(checked.returncode, 0, f"backup {number}: {checked.stdout}{checked.stderr}")

    def test_what_is_no_backup_is_refused(self):
        (self.folder / "half").mkdir()
        self.assertIn("no backup.json", self.refused(self.folder / "new", "--restore-from", self.folder / "half"))
        interrupted = self.folder / "interrupted"
        interrupted.mkdir()
        (interrupted / "restoring").touch()
        self.assertIn("was interrupted", self.refused(interrupted))

    def test_a_copy_that_was_cut_off_is_refused_and_says_what_it_lacks(self):
        server = self.filed_and_staged()
        made = self.backup(server, "made")
        # Until it is carried away the server goes on writing into what both name.
        phantom(self.folder / "more", session="STAGED1", seed=5)
        server.storescu("--to", "+sd", "+r", self.folder / "more")
        server.stop()

        def a_file(folder):
            return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)

        def shorten(path):
            path.write_bytes(path.read_bytes()[:-1])

        def overwrite(path):
            path.write_bytes(bytes(path.stat().st_size))

        cuts = {
            "backup.json is cut off": lambda copy: os.truncate(copy / "backup.json", 200),
            "index has 0 of ": lambda copy: shutil.rmtree(copy / "index"),
            "index has other content": lambda copy: overwrite(copy / "index/CURRENT"),
            "segments has 0 of 1 files and 0 of ": lambda copy: shutil.rmtree(copy / "segments"),
            "segments has 1 files that are not": lambda copy: shutil.copy(a_file(copy / "segments"), copy / "segments/old"),
            "archive has 0 of ": lambda copy: shutil.rmtree(copy / "archive"),
            "files and ": lambda copy: shorten(a_file(copy / "archive")),
            "archive has other content": lambda copy: os.rename(a_file(copy / "archive"), copy / "archive/old"),
            "postgres.dump has 1 of 1 files and": lambda copy: shorten(copy / "postgres.dump"),
            "postgres.dump has 0 of 1 files and 0 of ": lambda copy: (copy / "postgres.dump").unlink(),
            "postgres.dump has other content": lambda copy: overwrite(copy / "postgres.dump"),
        }
        for number, (said, cut) in enumerate(cuts.items()):
            with self.subTest(said):
                copy = self.folder / f"copy{number}"
                shutil.copytree(made, copy)
                cut(copy)
                self.assertIn(said, self.refused_untouched("--restore-from", copy))
        # As it was made, it is taken.
        self.assertEqual(self.restored("--restore-from", made), self.whole())
        # So is one of a version that wrote nothing of this down.
        (made / "backup.json").write_text('{"version": "0.1.0", "time": "2026-11-26T00:00:00Z", "database": true}')
        self.assertEqual(self.restored("--restore-from", made), self.whole())


class OwnPostgres(Case):
    """With a PostgreSQL of the site's own, whose role is an ordinary one (external_postgres.py)."""

    def setUp(self):
        super().setUp()
        self.cluster = external_postgres.Cluster.get()

    def test_the_private_servers_backup_goes_into_ones_own_and_back(self):
        server = self.filed_and_staged(flags=["--postgres", "managed"])
        made = self.backup(server, "made")
        server.stop()
        own = self.cluster.new_database()
        with Server(flags=["--postgres", own, "--restore-from", str(made)]) as other:
            self.assertEqual([session["label"] for session in other.sessions()], ["FILED1"])
            again = self.folder / "again"
            shutil.copytree(self.backup(other, "again"), again)
        self.assertIn("is not empty", self.refused_untouched("--restore-from", made, "--postgres", own))
        self.assertEqual(self.restored("--postgres", "managed", "--restore-from", again), self.whole())
        # A password reaches PostgreSQL's programs, too.
        other = self.cluster.new_database() + " password=secret"
        self.assertEqual(self.restored("--postgres", other, "--restore-from", again), self.whole())

    def without_database(self, name):
        """A backup as earlier versions made them with a PostgreSQL of the site's own."""
        server = self.filed_and_staged(flags=["--postgres", self.cluster.new_database()])
        made = self.backup(server, name)
        (made / "postgres.dump").unlink(missing_ok=True)
        kept = {key: value for key, value in json.loads((made / "backup.json").read_text()).items()
                if key in ("version", "time")}
        (made / "backup.json").write_text(json.dumps(kept | {"database": False}))
        return server, made

    def test_a_backup_without_its_database_waits_for_it(self):
        server, made = self.without_database("made")
        empty = self.cluster.new_database()
        self.assertIn("that of --postgres is empty", self.refused_untouched("--restore-from", made, "--postgres", empty))
        self.assertIn("has no database", self.refused_untouched("--restore-from", made))
        # One that is not the backup's: the archive is not taken for what came too late.
        with Server(flags=["--postgres", empty]) as other:
            other.narthex("project", "create", "P1")
        said = self.refused_untouched("--restore-from", made, "--postgres", empty)
        self.assertIn("has 1 sessions, and the database of --postgres none", said)
        with Server(flags=["--postgres", empty]) as other:
            phantom(self.folder / "other", session="OTHER1", seed=7)
            other.narthex("upload", self.folder / "other", "--project", "P1", "--archive")
        data = self.folder / "mistaken"
        said = self.refused(data, "--restore-from", made, "--postgres", empty)
        self.assertIn("names none of the 1 sessions", said)
        self.assertEqual(len(list((data / "archive").rglob("*.dcm"))), len(self.filed))
        self.assertIn("was interrupted", self.refused(data, "--postgres", empty))
        # The right one, by hand.
        right = self.cluster.new_database()
        name = {text: text.split("dbname=")[1] for text in (right, server.flags[-1])}
        dump = self.folder / "by-hand.dump"
        subprocess.run([self.cluster.binaries / "pg_dump", "--format=custom", "-f", dump, "-h", self.cluster.folder, "-U",
                        external_postgres.SUPERUSER, name[server.flags[-1]]], check=True)
        subprocess.run([self.cluster.binaries / "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname",
                        right, dump], check=True)
        self.assertEqual(self.restored("--restore-from", made, "--postgres", right), self.whole())


if __name__ == "__main__":
    unittest.main()
