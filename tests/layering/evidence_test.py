import unittest

from sample import tree_of

import evidence

PYTHON = """class Base:
    def test_base(self): pass
class Thing(Base):
    def test_own(self): pass
    def other(self): pass
"""


def page(last="`test_a.py::Thing.test_own`", rows=evidence.ROWS):
    lines = ["# Title", "| # | feature | here | shown by |", "|--:|---|---|---|"]
    lines += [f"| {n} | f | same, `flag` \\| more | `ThingTest.Works` |" for n in range(1, rows)]
    return "\n".join([*lines, f"| {rows} | f | better: how | {last} |"]) + "\n"


class EvidenceTest(unittest.TestCase):
    def found(self, text, others=""):
        return evidence.problems(tree_of({
            "docs/xnat-parity.md": text, "docs/other.md": others, "tests/e2e/test_a.py": PYTHON,
            "base/thing_test.cc": "TEST_F(ThingTest, Works) {}\nTEST(\n    OtherTest, Long) {}\n"}))

    def test_what_is_there_is_found(self):
        for name in ("`test_a.py::Thing.test_own`", "`test_a.py::Thing.test_base`", "`test_a.py::Thing`", "`test_a.py`",
                     "`tests/e2e/test_a.py`", "`ThingTest.*`, `OtherTest.Long`", "`ThingTest`, docs/rights.md"):
            self.assertEqual(self.found(page(name)), [], name)

    def test_what_is_not_there_is_reported(self):
        for name in ("`test_a.py::Thing.test_none`", "`test_a.py::Thing.other`", "`test_a.py::None`", "`test_b.py`",
                     "`ThingTest.None`", "`NoneTest`", "", "soon", "`Base`, `test_a.py`"):
            self.assertEqual(len(self.found(page(name))), 1, name)

    def test_rows_must_be_complete(self):
        self.assertEqual(len(self.found(page(rows=evidence.ROWS - 1))), 1)

    def test_what_is_not_offered_needs_no_test(self):
        self.assertEqual(self.found(page("").replace("better: how", "not: why")), [])

    def test_other_pages_name_tests_that_are_there(self):
        self.assertEqual(self.found(page(), "`ThingTest.Works`, `a.py`, `Rule.Project`, `test_a.py::Thing.test_own`\n"), [])
        self.assertEqual(len(self.found(page(), "`ThingTest.None` and `test_a.py::Thing.test_none`\n")), 2)


if __name__ == "__main__":
    unittest.main()
