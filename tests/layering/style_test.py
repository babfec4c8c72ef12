"""That the other checkers find what they must."""

import os
import subprocess
import unittest

import sample
import documents
import reasons
import style

PROTO = """enum ErrorReason {
  // Never sent.
  ERROR_REASON_UNSPECIFIED = 0;

  // What was asked.

  // NOT_FOUND: no such thing
  // at all.
  ERROR_REASON_THING_NOT_FOUND = 1;
}
"""


class StyleTest(unittest.TestCase):
    def assert_style(self, name: str, line: str, expected: int):
        content = f"#pragma once\n{line}\n"
        self.assertEqual(len(style.check(sample.tree_of({name: content}))), expected, line)

    def test_nolint_names_check_and_reason(self):
        self.assert_style("base/a.cc", "int x;  // NOLINT(bugprone-x): the C API wants it", 0)
        self.assert_style("base/a.cc", "// NOLINTNEXTLINE(bugprone-x): the C API wants it", 0)
        self.assert_style("base/a.cc", "int x;  // NOLINT", 1)
        self.assert_style("base/a.cc", "// NOLINTNEXTLINE(bugprone-x)", 1)

    def test_todo_names_an_issue(self):
        self.assert_style("base/a.cc", "// TODO(#12): more", 0)
        self.assert_style("base/a.cc", "// TODO: more", 1)

    def test_server_prints_no_whole_messages(self):
        self.assert_style("server/rpc/a.cc", "Log(request.ShortDebugString());", 1)
        self.assert_style("clients/cli/a.cc", "Print(request.ShortDebugString());", 0)

    def test_headers_and_sizes(self):
        self.assertEqual(len(style.check(sample.tree_of({"base/a.h": "int x;\n"}))), 1)
        self.assertEqual(len(style.check(sample.tree_of({"base/a.cc": "\n" * 501}))), 1)
        self.assertEqual(len(style.check(sample.tree_of({"base/a.cc": "\n" * 500}))), 0)


class ReasonsTest(unittest.TestCase):
    def check(self, source: str) -> list[str]:
        root = sample.tree_of({"proto/narthex/v1/errors.proto": PROTO, "server/a.cc": source, "docs/errors.md": ""})
        (root / "docs/errors.md").write_text(reasons.page(root), encoding="utf-8")
        return reasons.check(root)

    def test_finds_reasons_that_are_not_in_the_catalogue(self):
        self.assertEqual(self.check('return NotFound("THING_NOT_FOUND", "no");'), [])
        self.assertIn("THING_GONE", self.check('return NotFound("THING_GONE", "no");')[0])
        self.assertIn("a.cc:2", self.check('return Error(absl::StatusCode::kAborted,\n  "THING_GONE", "no");')[0])
        self.assertIn("THING_GONE", self.check('outcome.reason = "THING_GONE";')[0])

    def test_page_lists_them_by_section(self):
        root = sample.tree_of({"proto/narthex/v1/errors.proto": PROTO})
        self.assertIn("## What was asked\n\n| reason | when |\n|---|---|\n"
                      "| `THING_NOT_FOUND` | NOT_FOUND: no such thing at all. |", reasons.page(root))
        self.assertEqual(len(reasons.check(root)), 1, "a page that is missing is stale")


class DocumentsTest(unittest.TestCase):
    def test_finds_what_is_not_there(self):
        files = {"tools/dev/run.sh": "# --once", "tools/setup/debian-packages.txt": "# head\ncmake\nninja-build\n",
                 "docs/dependencies.md": "`cmake`", "README.md": "[a](docs/dependencies.md) `./dev run --once`"}
        self.assertEqual(documents.check(sample.tree_of(files)),
                         ["tools/setup/debian-packages.txt: ninja-build is not explained in docs/dependencies.md"])
        files["README.md"] = "[a](docs/none.md) `./dev fly` `./dev run --twice`"
        self.assertEqual(len(documents.check(sample.tree_of(files))), 4)


class RunTestTest(unittest.TestCase):
    def run_test(self, ci: str, script: str) -> int:
        return subprocess.run([sample.ROOT / "tools/check/run_test.sh", "bash", "-c", script], check=False,
                              env={**os.environ, "CI": ci}, capture_output=True).returncode

    def test_a_skip_fails_in_ci_only(self):
        self.assertEqual(self.run_test("", "echo '[  SKIPPED ] A.B (0 ms)'"), 0)
        self.assertEqual(self.run_test("true", "echo '[  SKIPPED ] A.B (0 ms)'"), 1)
        self.assertEqual(self.run_test("true", "echo 'SKIPPED: no peer'"), 1)
        self.assertEqual(self.run_test("true", "echo fine"), 0)
        self.assertEqual(self.run_test("true", "exit 7"), 7)


if __name__ == "__main__":
    unittest.main()
