"""The catalogue of error reasons (proto/narthex/v1/errors.proto): checks that sources use no other, and writes
docs/errors.md from it.

  tools/check/reasons.py [ROOT]            the check; also that docs/errors.md is fresh
  tools/check/reasons.py --write [ROOT]    writes docs/errors.md
"""

import re
import sys
from pathlib import Path

import tree

PROTO = Path("proto/narthex/v1/errors.proto")
PAGE = Path("docs/errors.md")
# Modules below the services may have reasons of their own, if this table (INNER(own, on_the_wire), included by
# server/rpc/status.cc) says what clients get instead.
INNER = Path("server/rpc/inner_reasons.inc")
INNER_LINE = re.compile(r"^INNER\((\w+), (\w+)\)", re.MULTILINE)
VALUE = re.compile(r"^\s*ERROR_REASON_(\w+) = (\d+);")
# What takes a reason: a code and a reason side by side, NotFound("REASON", ...), and things named so.
USES = [
    re.compile(r'absl::StatusCode::k\w+\s*,\s*"([A-Z][A-Z0-9_]+)"'),
    re.compile(r'\b(?:InvalidArgument|NotFound|FailedPrecondition|ResourceExhausted|DataLoss|Internal|Reject\w*|'
               r'Refuse\w*|Filtered|Malformed)\(\s*"([A-Z][A-Z0-9_]+)"'),
    re.compile(r'\breason\w*\s*(?:=|\(|==|!=)\s*"([A-Z][A-Z0-9_]+)"'),
    re.compile(r'\bErrorReason\([^()]*\)\s*[!=]=\s*"([A-Z][A-Z0-9_]+)"'),
]


def catalogue(root: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sections of the enum, each with (reason, comment)."""
    sections: list[tuple[str, list[tuple[str, str]]]] = [("", [])]
    comment: list[str] = []
    for line in tree.text(root, PROTO).splitlines():
        stripped = line.strip()
        if stripped.startswith("//"):
            comment.append(stripped[2:].strip())
        elif match := VALUE.match(line):
            sections[-1][1].append((match[1], " ".join(comment)))
            comment = []
        else:
            if not stripped and len(comment) == 1:
                sections.append((comment[0].rstrip("."), []))  # a comment by itself heads a section
            comment = []
    return sections


def page(root: Path) -> str:
    out = ["# Errors", "",
           f"Made from {PROTO} by `./dev fix`; edit that. Every error carries a `google.rpc.ErrorInfo` with one of these",
           "reasons and the domain `narthex`; an `ObjectOutcome` that is not STORED carries one in `reason`. A reason never",
           "changes its meaning; new ones may come.", ""]
    for title, reasons in catalogue(root):
        rows = [(reason, comment) for reason, comment in reasons if reason != "UNSPECIFIED"]
        if not rows:
            continue
        out += [f"## {title}", "", "| reason | when |", "|---|---|"]
        out += [f"| `{reason}` | {comment.replace('|', chr(92) + '|')} |" for reason, comment in rows]
        out.append("")
    return "\n".join(out)


def used(source: str) -> list[tuple[int, str]]:
    """(line, reason) of every reason that `source` passes on."""
    found = {(source.count("\n", 0, match.start(1)) + 1, match[1]) for use in USES for match in use.finditer(source)}
    return sorted(found)


def check(root: Path) -> list[str]:
    known = {reason for _, reasons in catalogue(root) for reason, _ in reasons}
    problems = []
    inner = INNER_LINE.findall(tree.text(root, INNER)) if (root / INNER).is_file() else []
    problems += [f"{INNER}: {own} becomes {wire}, which is not in {PROTO}" for own, wire in inner if wire not in known]
    known |= {own for own, _ in inner}
    for name in tree.files(root, *tree.CPP):
        if name.parts[0] not in ("base", "imaging", "storage", "server", "clients") or name.stem.endswith("_test"):
            continue
        problems += [f"{name}:{line}: reason {reason} is not in {PROTO}"
                     for line, reason in used(tree.text(root, name)) if reason not in known]
    if not (root / PAGE).is_file() or tree.text(root, PAGE) != page(root):
        problems.append(f"{PAGE}: does not say what {PROTO} says")
    return problems


def main(arguments: list[str]) -> int:
    write = arguments[:1] == ["--write"]
    root = Path((arguments[1:] if write else arguments)[0] if arguments[write:] else ".")
    if write:
        (root / PAGE).write_text(page(root), encoding="utf-8")
        return 0
    return tree.report(check(root), f"./dev fix for {PAGE}; add a missing reason to {PROTO}, or to {INNER} what it is on the wire")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
