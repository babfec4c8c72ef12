"""Every version's golden backup and data directory opens in this one, with all that was in it, and verifies."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[0] / "e2e"))

from harness import BIN, Server, phantom  # noqa: E402
from make_golden import rows  # noqa: E402


class Golden(unittest.TestCase):
    def test_every_backup_is_restored(self):
        golden = sorted(HERE.glob("*.tar.xz"))
        self.assertTrue(golden)
        for archive in golden:
            if archive.name.endswith(".data.tar.xz"):
                continue
            with self.subTest(archive.name), tempfile.TemporaryDirectory() as folder:
                self.assertLess(archive.stat().st_size, 1 << 20)
                self.unpack(archive, folder)
                self.opens(Server(flags=["--restore-from", folder]), self.expected(folder))

    def test_every_data_directory_is_opened(self):
        golden = sorted(HERE.glob("*.data.tar.xz"))
        self.assertTrue(golden)
        for archive in golden:
            with self.subTest(archive.name):
                self.assertLess(archive.stat().st_size, 2 << 20)
                server = Server()
                folder = server.data_dir / "d"
                folder.mkdir()
                self.unpack(archive, folder)
                expected = self.expected(folder)
                self.give_postgres_its_files(folder / "postgres")
                version = (folder / "postgres/data/PG_VERSION").read_text().strip()
                if os.environ.get("NARTHEX_TEST_POSTGRES") == "external" or not pathlib.Path(f"/usr/lib/postgresql/{version}/bin").exists():
                    print(f"SKIPPED LOUDLY: {archive.name} is of the managed PostgreSQL {version}", file=sys.stderr)
                    shutil.rmtree(server.data_dir)
                    continue
                self.opens(server, expected, merging=True)

    def unpack(self, archive, folder):
        subprocess.run(["tar", "-C", folder, "-xJf", archive], check=True)

    def expected(self, folder):
        path = pathlib.Path(folder) / "golden.json"
        if not path.exists():
            return None
        expected = json.loads(path.read_text())
        path.unlink()
        return expected

    def give_postgres_its_files(self, folder):
        """As PostgreSQL wants them, which a tar file of nobody's does not say."""
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700 if path.is_dir() else 0o600)
            if os.geteuid() == 0:
                shutil.chown(path, "postgres", "postgres")

    def opens(self, server, expected, merging=False):
        self.addCleanup(server.__exit__)
        server.start()
        self.assertEqual({session["label"] for session in server.sessions()} - {"CODED1", "HIDDEN1"}, {"FILED1"})
        states = {row["label"]: row["state"] for row in server.prearchive()}
        self.assertEqual(states["READY1"], "READY")
        self.assertEqual(states["ARRIVING1"], "RECEIVING")
        settings = {setting["key"]: setting["value"] for setting in server.narthex("settings", "get")["settings"]}
        self.assertEqual(settings["prearchive.idle_build_seconds"], "86399")
        if merging:
            server.wait_for(lambda: len(server.prearchive()) == 2, "the merge that was cut off")
        if expected:
            self.has_rows(server, expected["rows"])
            self.has_content(server, expected, merging)
        else:
            self.assertEqual(len(server.files("GOLD/FILED1")), 6)
        # It is not only there, it goes on.
        names = {row["label"]: row["name"] for row in server.prearchive()}
        server.narthex("prearchive", "build", names["ARRIVING1"])
        for label in ("READY1", "ARRIVING1"):
            server.narthex("prearchive", "archive", names[label])
            self.assertEqual(len(server.files(f"GOLD/{label}")), 6)
        server.stop()
        result = subprocess.run([BIN / "narthex-verify", "--data-dir", server.data_dir / "d"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("0 findings, 0 things", result.stdout)

    def has_rows(self, server, expected):
        """No row went, of any table that there still is; what ends by itself apart."""
        found = rows(server)
        lost = {name: (count, found[name]) for name, count in expected.items() if name in found and found[name] < count}
        self.assertEqual(lost, {})

    def has_content(self, server, expected, merging):
        users = {user["name"].split("/")[-1]: user for user in server.narthex("user", "list")["users"]}
        self.assertEqual(users["ann"]["displayName"], "Ann Other")
        members = server.narthex("project", "member", "list", "GOLD")
        self.assertIn("ann", json.dumps(members))
        receivers = server.narthex("receiver", "list")["receivers"]
        self.assertIn("127.0.0.1:11112", json.dumps([receiver for receiver in receivers if receiver["aeTitle"] == "GOLD_AE"]))
        self.assertIn("ROUTED1", json.dumps(server.narthex("routing", "study", "list")))
        self.assertIn("LOCALIZER", json.dumps(server.narthex("filter", "get", "--project", "GOLD")))
        self.assertIn("hashUID", json.dumps(server.narthex("anon", "get", "--project", "CODED")))
        filed = server.narthex("session", "show", "GOLD/FILED1")
        self.assertIn("1.5", json.dumps(filed))
        self.assertEqual(server.narthex("session", "show", "CODED/SHARED1")["accessionId"], filed["accessionId"])
        self.assertEqual(len(server.files("GOLD/FILED1")), 6 + 1 + 3 * merging)
        self.assertEqual(server.narthex("session", "show", "GOLD/HIDDEN1")["status"], "QUARANTINE")
        self.assertIn("so that there is a history", json.dumps(server.narthex("project", "history", "GOLD")))
        # The project's secret is the old one: what is hashed again is what it was.
        with tempfile.TemporaryDirectory() as sent:
            sent = pathlib.Path(sent)
            phantom(sent / "CODED2", session="CODED2", project="GOLD", subject="S5", slices=3, size=16, seed=5)
            server.narthex("upload", sent / "CODED2", "--project", "CODED", "--archive")
        self.assertEqual(self.uids(server.files("CODED/CODED2")), self.uids(expected["coded"]))

    def uids(self, files):
        return sorted(file["instanceUid"] for file in files)


if __name__ == "__main__":
    unittest.main()
