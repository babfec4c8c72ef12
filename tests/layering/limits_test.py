import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/check"))

import limits  # noqa: E402

HEADER = """namespace narthex::limits {

// Uploads. Untrusted bytes.
inline constexpr size_t kChunkMaxBytes = 2 << 20;  // (fixed: clients cut so) of one message
inline constinit Limit<int> kStreamsMax{
    256, 1, 1'000};  // (set limits.streams_max) at once
          // and no more
inline constinit Limit<size_t> kHeaderMaxBytes{32 << 20, 64 << 10, 1ll << 40};  // one | object

}
"""


class LimitsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("base/limits.h", HEADER)
        self.write("base/limit_table.cc", f"before\n{limits.BEGIN_TABLE}{limits.END_TABLE}after\n")
        self.write("server/app/a.cc", '{"limits.streams_max", 1}')
        self.write("docs/operations.md", f"before\n{limits.BEGIN}\n{limits.END}\nafter\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def problems(self, name, text):
        """What is wrong, once the tables are right, with `text` in `name`."""
        self.write(name, text)
        limits.write(self.root)
        return limits.problems(self.root)

    def test_writes_the_tables_that_it_wants(self):
        self.assertEqual(len(limits.problems(self.root)), 2)
        limits.write(self.root)
        self.assertEqual(limits.problems(self.root), [])
        page = (self.root / "docs/operations.md").read_text()
        self.assertIn("| **Uploads** | | | | Untrusted bytes |", page)
        self.assertIn("| `chunk_max_bytes` | 2 MiB | fixed: clients cut so |  | of one message |", page)
        self.assertIn("| `streams_max` | 256 | 1 to 1,000 | `limits.streams_max` | at once and no more |", page)
        self.assertIn("| `header_max_bytes` | 32 MiB | 64 KiB to 1 TiB |  | one \\| object |", page)
        self.assertTrue(page.startswith("before\n") and page.endswith("after\n"))
        self.assertEqual((self.root / "base/limit_table.cc").read_text(),
                         f"before\n{limits.BEGIN_TABLE}"
                         '    {"streams_max", &limits::kStreamsMax},\n'
                         '    {"header_max_bytes", &limits::kHeaderMaxBytes},\n'
                         f"{limits.END_TABLE}after\n")

    def test_finds_a_limit_that_changed_or_is_missing_from_the_table(self):
        limits.write(self.root)
        self.write("base/limits.h", HEADER.replace("256", "255"))
        self.assertEqual(len(limits.problems(self.root)), 1)
        self.write("base/limits.h", HEADER.replace("kHeaderMaxBytes", "kHeadMaxBytes"))
        self.assertEqual(len(limits.problems(self.root)), 2)

    def test_finds_settings_without_limits_and_limits_without_settings(self):
        limits.write(self.root)
        self.write("server/app/a.cc", '{"limits.other", 1}')
        self.assertEqual(len(limits.problems(self.root)), 2)

    def test_wants_a_limit_to_be_settable_or_to_say_why_not(self):
        for text in (HEADER.replace("(fixed: clients cut so) ", ""),
                     HEADER.replace("{32 << 20, 64 << 10, 1ll << 40}", "{32 << 20}"),
                     HEADER.replace("{32 << 20, 64 << 10, 1ll << 40}", "{32 << 20, 33 << 20, 64 << 20}"),
                     HEADER.replace("// one", "// (fixed: no) one")):
            self.assertNotEqual(text, HEADER)
            self.assertEqual(len(self.problems("base/limits.h", text)), 1, text)

    def test_finds_limits_in_other_files(self):
        for text in ("constexpr size_t kTextMaxBytes = 4;\n", "constexpr int kMax = 4;  // of one\n",
                     "  constexpr absl::Duration kLongestWait = absl::Seconds(5);\n",
                     "inline constexpr int kOther = 1, kPortMax =\n    2;\n",
                     "static constexpr uint64_t kCallTimeoutMs = 5;\nconstexpr int kB = 3;  // fixed: b\n"):
            self.assertEqual(len(self.problems("server/rpc/b.cc", text)), 1, text)
        for text in ("constexpr size_t kTextMaxBytes = 4;  // fixed: VR LO\n",
                     "constexpr int kLonger =\n    4;\n", "constexpr int kMaximal = 1;\n",
                     "constexpr Reject kRejectLocalLimit = {2, 3, 2};\n",
                     "constexpr size_t kRunMaxPieces =\n    512;  // fixed: the kernel\n"):
            self.assertEqual(self.problems("server/rpc/b.cc", text), [], text)
        self.write("server/rpc/b.cc", "")
        self.assertEqual(self.problems("server/rpc/b_test.cc", "constexpr int kMax = 4;\n"), [])
        self.assertEqual(self.problems("tools/b.cc", "constexpr int kMax = 4;\n"), [])


if __name__ == "__main__":
    unittest.main()
