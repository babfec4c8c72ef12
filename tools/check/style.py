"""Checks rules of style that formatters and compilers do not know.

  tools/check/style.py [ROOT]
"""

import re
import sys
from pathlib import Path

import tree

MAX_LINES = 500
SOURCES = (".h", ".cc", ".py", ".sh", ".proto", ".go", ".java")

# (what it says, which files, the pattern of an offending line)
RULES = [
    ("say which check and why: NOLINT(check): reason", tree.CPP,
     re.compile(r"NOLINT(?!END)(?!(NEXTLINE|BEGIN)?\([\w.,* -]+\): \S)")),
    ("name an issue: TODO(#12)", SOURCES, re.compile(r"(//|#) *(TODO(?!\(#\d+\))|FIXME|XXX)\b")),
    ("no using namespace", tree.CPP, re.compile(r"^\s*using namespace\b")),
    ("no printing of whole messages: they may hold patient values", ("server",),
     re.compile(r"\b(Short|Unsafe|Utf8)?DebugString\(\)")),
    ("diagnostics that are switched off hide bugs; fix the cause", tree.CPP,
     re.compile(r"#\s*pragma (GCC|clang) diagnostic ignored(?!.*//)")),
    ("pass std::format's work to absl::StrFormat: GCC 12 lacks it", tree.CPP, re.compile(r"\bstd::format\(")),
]


def applies(name: Path, where: tuple[str, ...]) -> bool:
    if where[0].startswith("."):
        return name.suffix in where
    return name.parts[0] in where and name.suffix in tree.CPP


def check(root: Path) -> list[str]:
    problems = []
    for name in tree.files(root, *SOURCES):
        lines = tree.text(root, name).splitlines()
        if len(lines) > MAX_LINES:
            problems.append(f"{name}: {len(lines)} lines; split by what it does at {MAX_LINES}")
        if name.suffix == ".h" and "#pragma once" not in lines:
            problems.append(f"{name}: #pragma once is missing")
        if name.name == "style.py" or name.name == "style_test.py":
            continue
        for number, line in enumerate(lines, 1):
            problems += [f"{name}:{number}: {says}" for says, where, pattern in RULES
                         if applies(name, where) and pattern.search(line)]
    return problems


if __name__ == "__main__":
    sys.exit(tree.report(check(Path(sys.argv[1] if len(sys.argv) > 1 else ".")), "edit the lines named above"))
