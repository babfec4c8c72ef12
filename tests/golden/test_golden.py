"""Every version's golden backup opens in this one, with all that was in it, and verifies."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[0] / "e2e"))

from harness import BIN, Server  # noqa: E402


class Golden(unittest.TestCase):
    def test_every_version_opens(self):
        golden = sorted(HERE.glob("*.tar.xz"))
        self.assertTrue(golden)
        for archive in golden:
            with self.subTest(archive.name), tempfile.TemporaryDirectory() as folder:
                self.assertLess(archive.stat().st_size, 1 << 20)
                subprocess.run(["tar", "-C", folder, "-xJf", archive], check=True)
                self.opens(folder)

    def opens(self, backup):
        server = Server(flags=["--restore-from", backup])
        self.addCleanup(server.__exit__)
        server.start()
        self.assertEqual([session["label"] for session in server.sessions()], ["FILED1"])
        self.assertEqual(len(server.files("GOLD/FILED1")), 6)
        rows = {row["label"]: row for row in server.prearchive()}
        self.assertEqual({label: row["state"] for label, row in rows.items()}, {"READY1": "READY", "ARRIVING1": "RECEIVING"})
        settings = {setting["key"]: setting["value"] for setting in server.narthex("settings", "get")["settings"]}
        self.assertEqual(settings["prearchive.idle_build_seconds"], "86399")
        # It is not only there, it goes on.
        server.narthex("prearchive", "build", rows["ARRIVING1"]["name"])
        for label in ("READY1", "ARRIVING1"):
            server.narthex("prearchive", "archive", rows[label]["name"])
            self.assertEqual(len(server.files(f"GOLD/{label}")), 6)
        server.stop()
        result = subprocess.run([BIN / "narthex-verify", "--data-dir", server.data_dir / "d"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
