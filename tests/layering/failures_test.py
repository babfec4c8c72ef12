import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/check"))

import failures  # noqa: E402

SOURCE = """
  Log(LogLevel::kInfo, "all is well");
  if (!done.ok()) Log(LogLevel::kError, "the disk "
                      "is gone", {{"error", done}});
  Log(low ? LogLevel::kWarning : LogLevel::kInfo,
      low ? "little space, \\"really\\"" : "space again", {{"free", Free(a, b)}});
  Metrics::Global().Set("disk_low", "1: low", 1);
"""
PAGE = """| log `the disk is gone` |
| log `little space, \\"really\\"`; log `space again` |
| `narthex_disk_low` |
"""


class FailuresTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("server/app/a.cc", SOURCE)
        self.write("docs/failures.md", PAGE)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_takes_a_page_that_has_all(self):
        self.assertEqual(failures.problems(self.root), [])

    def test_finds_what_the_page_does_not_tell(self):
        self.write("docs/failures.md", "| log `the disk is gone` | `narthex_disk_low` |")
        self.assertEqual([problem.split('"')[1] for problem in failures.problems(self.root)], ["little space, \\", "space again"])

    def test_finds_warnings_anywhere_below_the_folders_but_not_in_tests(self):
        self.write("storage/fs/b.cc", 'Log(LogLevel::kWarning, "new");')
        self.write("storage/fs/b_test.cc", 'Log(LogLevel::kWarning, "in a test");')
        self.assertEqual(len(failures.problems(self.root)), 1)

    def test_finds_what_nobody_says_any_more(self):
        self.write("docs/failures.md", PAGE + "log `former words`, `narthex_former_total`")
        self.assertEqual(len(failures.problems(self.root)), 2)

    def test_finds_texts_that_it_cannot_read(self):
        self.write("server/app/b.cc", "Log(LogLevel::kError, text);")
        self.assertEqual(len(failures.problems(self.root)), 1)


if __name__ == "__main__":
    unittest.main()
