"""A study of 2,000 slices through both doors, and an object of 2 GiB: what the server holds in memory stays bounded."""

import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import BIN, Server, phantom

MEMORY_MAX_KIB = 400 * 1024


class Scale(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-scale-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.server = Server()
        self.server.start()
        self.addCleanup(self.server.__exit__)
        self.server.narthex("project", "create", "P1")

    def build_seconds(self, label):
        row = next(row for row in self.server.prearchive("--project", "P1") if row["label"] == label)
        began = time.monotonic()
        self.server.narthex("prearchive", "build", row["name"])
        return row["name"], time.monotonic() - began

    def test_two_thousand_slices_through_both_doors(self):
        files = phantom(self.folder / "a", modality="CT", series=4, slices=500, size=512, session="BIG1")
        phantom(self.folder / "b", modality="CT", series=4, slices=500, size=512, session="BIG2", seed=2)
        self.assertEqual(len(files), 2000)

        began = time.monotonic()
        self.server.narthex("upload", self.folder / "a", "--project", "P1", "--no-commit")
        uploaded = time.monotonic() - began
        began = time.monotonic()
        self.server.storescu("--to", "+sd", "+r", self.folder / "b")
        pushed = time.monotonic() - began

        for label in ("BIG1", "BIG2"):
            name, built = self.build_seconds(label)
            began = time.monotonic()
            self.server.narthex("prearchive", "archive", name)
            archived = time.monotonic() - began
            session = self.server.narthex("session", "show", f"P1/{label}")
            self.assertEqual((session["scanCount"], session["fileCount"]), (4, 2000))
            print(f"{label}: build {built:.2f} s, archive {archived:.2f} s")
        print(f"upload {uploaded:.2f} s, push {pushed:.2f} s, server memory {self.server.memory_kib() // 1024} MiB")
        self.assertLess(self.server.memory_kib(), MEMORY_MAX_KIB)

    def test_one_object_of_two_gibibytes(self):
        small = phantom(self.folder / "small", modality="CT", series=1, slices=1, size=64, session="HUGE1")[0]
        data = small.read_bytes()
        # The pixel data element, explicit VR: tag, OW, two zero bytes, 32-bit length.
        at = data.rindex(b"\xe0\x7f\x10\x00OW\x00\x00")
        length = 2 * 1024 ** 3
        huge = self.folder / "huge/huge.dcm"
        huge.parent.mkdir()
        with open(huge, "wb") as out:
            out.write(data[:at + 8] + length.to_bytes(4, "little"))
            block = bytes(range(256)) * 4096
            for _ in range(length // len(block)):
                out.write(block)

        self.server.narthex("upload", huge.parent, "--project", "P1", "--archive")

        self.assertEqual(int(self.server.files("P1/HUGE1")[0]["sizeBytes"]), huge.stat().st_size)
        digest = subprocess.run(["sha256sum", huge], capture_output=True, text=True, check=True).stdout.split()[0]
        self.assertEqual(self.server.files("P1/HUGE1")[0]["sha256"], digest)
        print(f"server memory {self.server.memory_kib() // 1024} MiB")
        self.assertLess(self.server.memory_kib(), MEMORY_MAX_KIB)


if __name__ == "__main__":
    unittest.main()
