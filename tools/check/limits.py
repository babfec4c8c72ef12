"""The limits (base/limits.h, and base/limits_*.h for what few sources need): checks that docs/operations.md has the table of them and that those marked "(set KEY)" are the
settings that the server has, and writes the table.

  tools/check/limits.py [ROOT]            the check
  tools/check/limits.py --write [ROOT]    writes the table
"""

import re
import sys
from pathlib import Path

import tree

HEADER = Path("base/limits.h")
BEGIN_BODY = "namespace narthex::limits {"
PAGE = Path("docs/operations.md")
BEGIN, END = "<!-- limits: made from base/limits.h by ./dev fix -->", "<!-- limits: end -->"
LIMIT = re.compile(r"^inline constexpr \w+ (k\w+)\s*=\s*([^;]+);[ \t]*(//[^\n]*(?:\n[ \t]+//[^\n]*)*)?", re.MULTILINE)
SET = re.compile(r"^\(set ([\w.]+)\)\s*")
SUFFIX = re.compile(r"\b(\d[\d']*)(?:u|l|U|L)+\b")
SETTING = re.compile(r'\{\s*"((?:limits)\.\w+)"')


def value(text: str) -> str:
    """As people write it: 4 << 20 becomes 4 MiB."""
    text = SUFFIX.sub(r"\1", " ".join(text.split())).replace("'", "")
    if match := re.fullmatch(r"(\d+) << (\d+)", text):
        number = int(match[1]) << int(match[2])
        for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
            if number % (1 << shift) == 0:
                return f"{number >> shift} {unit}" if shift < 40 or number >> shift < 1024 else str(number)
    return f"{int(text):,}" if text.isdigit() else text


def headers(root: Path) -> str:
    """The declarations of all of them."""
    more = sorted(path.relative_to(root) for path in (root / HEADER.parent).glob("limits_*.h"))
    texts = (tree.text(root, header) for header in [HEADER, *more])
    return "\n\n".join(text[text.index(BEGIN_BODY):] for text in texts)


def limits(root: Path) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Sections, each with (name, value, key or "", comment)."""
    sections: list[tuple[str, list[tuple[str, str, str, str]]]] = [("", [])]
    for block in re.split(r"\n\s*\n", headers(root)):
        heading = re.match(r"((?://[^\n]*\n)+)", block)
        if heading:
            sections.append((" ".join(line[2:].strip() for line in heading[1].splitlines()).rstrip("."), []))
        for match in LIMIT.finditer(block):
            comment = " ".join(line.strip()[2:].strip() for line in (match[3] or "").splitlines())
            key = SET.match(comment)
            sections[-1][1].append((match[1], value(match[2]), key[1] if key else "", SET.sub("", comment)))
    return [section for section in sections if section[1]]


def table(root: Path) -> str:
    out = [BEGIN, "", "| limit | value | setting | |", "|---|---|---|---|"]
    for title, rows in limits(root):
        out.append(f"| **{title.split('. ')[0]}** | | | |")
        out += [f"| `{name}` | {number} | {f'`{key}`' if key else ''} | {comment.replace('|', chr(92) + '|')} |"
                for name, number, key, comment in rows]
    return "\n".join([*out, "", END])


def declared(root: Path) -> int:
    return len(re.findall(r"^inline constexpr", headers(root), re.MULTILINE))


def problems(root: Path) -> list[str]:
    found = []
    rows = [row for _, rows in limits(root) for row in rows]
    if len(rows) != declared(root):
        found.append(f"{HEADER}: {declared(root)} limits are declared, but the table would have {len(rows)}")
    marked = {key for _, _, key, _ in rows if key.startswith("limits.")}
    settings = {key for name in tree.files(root, ".cc") if name.parts[:2] == ("server", "app")
                for key in SETTING.findall(tree.text(root, name))}
    found += [f"{HEADER}: no setting {key} in server/app" for key in sorted(marked - settings)]
    found += [f"server/app: {key} is not marked in {HEADER}" for key in sorted(settings - marked)]
    page = tree.text(root, PAGE)
    if BEGIN not in page or END not in page or page[page.index(BEGIN):page.index(END) + len(END)] != table(root):
        found.append(f"{PAGE}: the table of limits is not that of {HEADER}")
    return found


def write(root: Path) -> None:
    page = tree.text(root, PAGE)
    begin, end = page.index(BEGIN), page.index(END) + len(END)
    (root / PAGE).write_text(page[:begin] + table(root) + page[end:], encoding="utf-8")


def main(arguments: list[str]) -> int:
    root = Path(next((word for word in arguments if not word.startswith("--")), "."))
    if "--write" in arguments:
        write(root)
        return 0
    return tree.report(problems(root), "./dev fix, or edit base/limits.h and server/app")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
