"""The files that the checks look at, and how a check reports."""

import os
import subprocess
import sys
from pathlib import Path

SKIPPED = {"build", ".git", ".deps", "__pycache__", "node_modules"}
CPP = (".h", ".cc")


def files(root: Path, *suffixes: str) -> list[Path]:
    """Files below `root` that git tracks or would track (all, outside a repository), relative to it, sorted."""
    git = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = [Path(name) for name in git.stdout.split("\0") if name]
    else:
        names = []
        for folder, below, found in os.walk(root):
            below[:] = [name for name in below if name not in SKIPPED]
            names += [Path(folder, name).relative_to(root) for name in found]
    return sorted({n for n in names if n.name.endswith(suffixes or ("",)) and (root / n).is_file()})


def text(root: Path, name: Path) -> str:
    return (root / name).read_text(encoding="utf-8", errors="replace")


def report(problems: list[str], remedy: str) -> int:
    """Prints the problems and what to do; the exit code of the check."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"\n{len(problems)} found. To put it right: {remedy}", file=sys.stderr)
    return 1 if problems else 0
