import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/check"))

import limits  # noqa: E402

HEADER = """namespace narthex::limits {

// Uploads.
inline constexpr size_t kChunkMaxBytes = 2 << 20;  // of one message
inline constexpr int kStreamsMax =
    256;  // (set limits.streams_max) at once
          // and no more

}
"""


class LimitsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("base/limits.h", HEADER)
        self.write("server/app/a.cc", '{"limits.streams_max", 1}')
        self.write("docs/operations.md", f"before\n{limits.BEGIN}\n{limits.END}\nafter\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_writes_the_table_that_it_wants(self):
        self.assertEqual(len(limits.problems(self.root)), 1)
        limits.write(self.root)
        self.assertEqual(limits.problems(self.root), [])
        page = (self.root / "docs/operations.md").read_text()
        self.assertIn("| `kChunkMaxBytes` | 2 MiB |  | of one message |", page)
        self.assertIn("| `kStreamsMax` | 256 | `limits.streams_max` | at once and no more |", page)
        self.assertTrue(page.startswith("before\n") and page.endswith("after\n"))

    def test_finds_a_limit_that_changed(self):
        limits.write(self.root)
        self.write("base/limits.h", HEADER.replace("256", "255"))
        self.assertEqual(len(limits.problems(self.root)), 1)

    def test_finds_settings_without_limits_and_limits_without_settings(self):
        limits.write(self.root)
        self.write("server/app/a.cc", '{"limits.other", 1}')
        self.assertEqual(len(limits.problems(self.root)), 2)


if __name__ == "__main__":
    unittest.main()
