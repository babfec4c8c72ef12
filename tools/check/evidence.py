"""Tests that documents name exist: every row of docs/xnat-parity.md that claims something names one, and what it and the other
pages of docs/ call by the name of a test is in the tree.

  tools/check/evidence.py [ROOT]

A test's name: `file.py::Class.test`, `file.py::Class`, `file.py`, `Suite.Test`, `Suite.*` or (in the table only) `Suite`.
"""

import ast
import re
import sys
from pathlib import Path

import tree

PAGE = Path("docs/xnat-parity.md")
ROWS = 128
ROW = re.compile(r"^\| (\d+) \| (.*?) \| (.*) \| ?(.*?) ?\|$")
QUOTED = re.compile(r"`([^`]+)`")
PYTHON = re.compile(r"^(?:tests/\w+/)?(\w+\.py)(?:::(\w+)(?:\.(\w+|\*))?)?$")
CPP = re.compile(r"^([A-Z]\w*)(?:\.(\w+|\*))?$")
TEST = re.compile(r"\b(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)")


class Tests:
    """What the tree holds."""

    def __init__(self, root: Path):
        self.cpp: dict[str, set[str]] = {}
        for name in tree.files(root, "_test.cc", "_contract.h", "_fuzzer.cc"):
            for suite, test in TEST.findall(tree.text(root, name)):
                self.cpp.setdefault(suite, set()).add(test)
        self.python: dict[str, dict[str, set[str]]] = {}
        for name in tree.files(root, ".py"):
            if name.parts[0] != "tests":
                continue
            classes = {node.name: node for node in ast.walk(ast.parse(tree.text(root, name))) if isinstance(node, ast.ClassDef)}
            self.python[name.name] = {title: self.methods(node, classes) for title, node in classes.items()}

    def methods(self, node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
        found = {part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name.startswith("test")}
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id in classes and base.id != node.name:
                found |= self.methods(classes[base.id], classes)
        return found

    def missing(self, name: str) -> bool:
        """Whether `name` looks like a test's name and there is no such test."""
        if match := PYTHON.match(name):
            file, title, test = match.groups()
            classes = self.python.get(file)
            if classes is None or title is not None and title not in classes:
                return True
            tests = set().union(*classes.values()) if title is None else classes[title]
            return not tests or test not in (None, "*") and test not in tests
        match = CPP.match(name)
        suite, test = match.groups()
        return suite not in self.cpp or test not in (None, "*") and test not in self.cpp[suite]


def problems(root: Path) -> list[str]:
    tests = Tests(root)
    found = []
    numbers = []
    for line, text in enumerate(tree.text(root, PAGE).splitlines(), 1):
        if not (row := ROW.match(text)):
            continue
        numbers.append(int(row[1]))
        named = [name for name in QUOTED.findall(row[4]) if PYTHON.match(name) or CPP.match(name)]
        if not named and not row[3].startswith("not"):
            found.append(f"{PAGE}:{line}: row {row[1]} claims something and names no test")
        found += [f"{PAGE}:{line}: row {row[1]} names {name}, which is not there" for name in named if tests.missing(name)]
    if numbers != list(range(1, ROWS + 1)):
        found.append(f"{PAGE}: its rows are not 1 to {ROWS}, each once and in order")
    for page in tree.files(root, ".md"):
        if page.parts[0] != "docs" or page == PAGE:
            continue
        for line, text in enumerate(tree.text(root, page).splitlines(), 1):
            for name in QUOTED.findall(text):
                looks = "::" in name and PYTHON.match(name) or re.match(r"^[A-Z]\w*Test\.(\w+|\*)$", name)
                if looks and tests.missing(name):
                    found.append(f"{page}:{line}: names {name}, which is not there")
    return found


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    return tree.report(problems(root), "name the test that shows it, or say that none does")


if __name__ == "__main__":
    sys.exit(main())
