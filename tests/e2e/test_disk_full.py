"""A whole server on a small file system of its own that fills up: what is refused, that nothing acknowledged is harmed, and
that everything goes on by itself when space returns.

The file system is a loop-mounted ext4 in a mount namespace of this test; where the machine does not allow that the test
skips loudly.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

import mounts  # noqa: E402
from harness import BIN, Server, phantom, sha256  # noqa: E402

SIZE_MIB = 700
WATERMARK = 96 << 20


class DiskFull(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        disk = mounts.Disk(SIZE_MIB)
        self.addCleanup(disk.remove)
        self.disk = disk.path
        self.server = Server(data_dir=self.disk)
        self.addCleanup(self.server.__exit__)
        self.server.start()
        self.server.narthex("project", "create", "P1")
        self.server.narthex("settings", "set", "limits.free_space_min_bytes", WATERMARK)

    def fill(self, leave):
        free = shutil.disk_usage(self.disk).free
        subprocess.run(["fallocate", "-l", str(max(free - leave, 4096)), self.disk / "ballast"], check=True)

    def drain(self):
        (self.disk / "ballast").unlink()

    def refusal(self, folder):
        """What both doors say. Nothing may be kept."""
        result = self.server.run("upload", folder, "--project", "P1", "--no-commit")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("DISK_FULL", result.stdout + result.stderr)
        sent = self.server.storescu("-v", "--to", "+sd", "+r", folder, code=None)
        self.assertIn("OutOfResources", sent.stdout + sent.stderr)
        self.assertNotIn("(Success)", sent.stdout + sent.stderr)

    def counts(self):
        return {row["label"]: row.get("objectCount", 0) for row in self.server.prearchive()}

    def verify(self):
        self.server.stop()
        result = subprocess.run([BIN / "narthex-verify", "--data-dir", self.disk / "d", "--output", "json"],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return json.loads(result.stdout)

    def test_below_the_watermark_and_with_nothing_left_at_all(self):
        server = self.server
        kept = phantom(self.folder / "kept", session="KEPT1")
        more = phantom(self.folder / "more", session="MORE1", seed=2)
        server.narthex("upload", self.folder / "kept", "--project", "P1", "--no-commit")

        self.fill(leave=WATERMARK // 2)
        time.sleep(0.3)
        self.refusal(self.folder / "more")
        self.assertEqual(self.counts().get("MORE1", 0), 0)
        # An archive operation waits for space, and goes on by itself.
        row = server.prearchive()[0]
        server.narthex("prearchive", "build", row["name"])
        archiving = subprocess.Popen([BIN / "narthex", "--server", server.address, "prearchive", "archive", row["name"]],
                                     env=dict(os.environ, NARTHEX_TOKEN=server.token), stdout=subprocess.DEVNULL)
        self.addCleanup(archiving.kill)
        time.sleep(1)
        self.assertIsNone(archiving.poll(), "it did not wait")
        self.assertEqual(server.sessions(), [])
        self.drain()
        self.assertEqual(archiving.wait(timeout=60), 0)
        self.assertEqual(sorted(file["sha256"] for file in server.files("P1/KEPT1")), sorted(map(sha256, kept)))
        server.narthex("upload", self.folder / "more", "--project", "P1", "--no-commit")
        self.assertEqual(self.counts()["MORE1"], len(more))

        # Others may fill a disk in spite of the watermark: not even the logs of index and database can be written.
        server.narthex("settings", "set", "limits.free_space_min_bytes", "0")
        phantom(self.folder / "burst", session="BURST1", series=4, slices=40, size=512, seed=3)
        self.fill(leave=6 << 20)
        burst = server.run("upload", self.folder / "burst", "--project", "P1", "--no-commit")
        self.assertNotEqual(burst.returncode, 0)
        self.drain()
        server.wait_for(lambda: server.run("upload", self.folder / "burst", "--project", "P1", "--no-commit").returncode == 0,
                        "space to be noticed", timeout=60)
        self.assertEqual(self.counts()["BURST1"], 160)
        self.assertEqual(self.counts()["MORE1"], len(more))
        for label in ("MORE1", "BURST1"):
            row = next(row for row in server.prearchive() if row["label"] == label)
            server.narthex("prearchive", "build", row["name"], code=None)
            server.narthex("prearchive", "archive", row["name"])
        self.assertEqual(sorted(file["sha256"] for file in server.files("P1/MORE1")), sorted(map(sha256, more)))
        report = self.verify()
        self.assertEqual(report["unfinishedCount"], 0, report)
        self.assertEqual(report["archivedFileCount"], len(kept) + len(more) + 160)


if __name__ == "__main__":
    mounts.enter()
    unittest.main()
