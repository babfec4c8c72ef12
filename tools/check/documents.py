"""Checks that what the documents point at is there: links, verbs and flags of ./dev, packages, wire names.

  tools/check/documents.py [ROOT]
"""

import re
import sys
from pathlib import Path

import tree

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
DEV = re.compile(r"\./dev ([a-z]+)([^`\n|#]*)")
FLAG = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")


def dev_problems(root: Path, verb: str, rest: str) -> list[str]:
    script = root / "tools/dev" / f"{verb}.sh"
    if not script.is_file() or verb == "lib":
        return [f"./dev has no verb {verb}"]
    known = script.read_text(encoding="utf-8") + "--help"
    return [f"./dev {verb} has no flag {flag}" for flag in FLAG.findall(rest.split("  ")[0]) if flag not in known]


def document_problems(root: Path, name: Path) -> list[str]:
    problems = []
    for number, line in enumerate(tree.text(root, name).splitlines(), 1):
        for target in LINK.findall(line):
            if "://" not in target and not target.startswith("mailto:") and not (root / name.parent / target).exists():
                problems.append(f"{name}:{number}: link to {target}, which is not there")
        for verb, rest in DEV.findall(line):
            problems += [f"{name}:{number}: {why}" for why in dev_problems(root, verb, rest)]
    return problems


def package_problems(root: Path) -> list[str]:
    """Every package that setup installs stands in docs/dependencies.md."""
    page = tree.text(root, Path("docs/dependencies.md"))
    listed = Path("tools/setup/debian-packages.txt")
    packages = [line for line in tree.text(root, listed).splitlines() if line and not line.startswith("#")]
    return [f"{listed}: {package} is not explained in docs/dependencies.md" for package in packages
            if f"`{package}`" not in page]


def check(root: Path) -> list[str]:
    problems = [problem for name in tree.files(root, ".md") for problem in document_problems(root, name)]
    return problems + package_problems(root)


if __name__ == "__main__":
    sys.exit(tree.report(check(Path(sys.argv[1] if len(sys.argv) > 1 else ".")), "edit the lines named above"))
