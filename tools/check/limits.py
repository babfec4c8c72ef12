"""The limits (base/limits.h, and base/limits_*.h for what fewer sources need).

Checks that each can be set or says why not, that base/limit_table.cc and docs/operations.md have all of them, that those
marked "(set KEY)" are the settings that the server has, and that no limit hides elsewhere. Which constants of other files
are limits it tells by their names: a number or duration called k...Max..., ...Limit..., ...Timeout..., ...Deadline... or
...Longest... is one, unless a comment "fixed: WHY" on it says what fixes it (a standard, a format, the size of an array),
so that nobody could want to set it.

  tools/check/limits.py [ROOT]            the check
  tools/check/limits.py --write [ROOT]    writes both tables
"""

import re
import sys
from pathlib import Path

import tree

HEADER = Path("base/limits.h")
BEGIN_BODY = "namespace narthex::limits {"
PAGE = Path("docs/operations.md")
BEGIN, END = "<!-- limits: made from base/limits.h by ./dev fix -->", "<!-- limits: end -->"
TABLE = Path("base/limit_table.cc")
BEGIN_TABLE, END_TABLE = "    // clang-format off: made by ./dev fix\n", "    // clang-format on\n"
COMMENT = r"[ \t]*(//[^\n]*(?:\n[ \t]+//[^\n]*)*)?"
LIMIT = re.compile(r"^inline (?:constexpr \w+ (k\w+)\s*=\s*([^;]+)|constinit Limit<\w+> (k\w+)\{([^}]+)\});" + COMMENT,
                   re.MULTILINE)
SET = re.compile(r"^\(set ([\w.]+)\)\s*")
FIXED = re.compile(r"^\(fixed: ([^)]+)\)\s*")
SUFFIX = re.compile(r"\b(\d[\d']*)(?:u|l|U|L)+\b")
SETTING = re.compile(r'\{\s*"((?:limits)\.\w+)"')
TYPES = r"(?:u?int\d*_t|u?intmax_t|rlim_t|size_t|int|unsigned|long|double|absl::Duration)"
ELSEWHERE = re.compile(r"\bconstexpr " + TYPES + r" ([^;]*);" + COMMENT)
NAMED = re.compile(r"\b(k(?:[A-Z]\w*)?(?:Max|Limit|Timeout|Deadline|Longest)(?![a-z])\w*)\s*=")
FOLDERS = ("base", "imaging", "storage", "server", "clients")


def number(text: str) -> int:
    """Of 4 << 20 and 100ll * 365 * 86400."""
    text = SUFFIX.sub(r"\1", " ".join(text.split())).replace("'", "")
    if not re.fullmatch(r"[\d *<]+", text):
        raise ValueError(f"{HEADER}: \"{text}\" is no number")
    return int(eval(text, {"__builtins__": {}}))  # noqa: S307: digits, *, << only


def value(name: str, count: int) -> str:
    """As people write it: 4194304 bytes are 4 MiB."""
    if "Bytes" in name and count:
        for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
            if count % (1 << shift) == 0:
                return f"{count >> shift:,} {unit}"
    return f"{count:,}"


def flag(name: str) -> str:
    """kHeaderMaxBytes is header_max_bytes to --limit."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name[1:]).lower()


def headers(root: Path) -> str:
    """The declarations of all of them."""
    more = sorted(path.relative_to(root) for path in (root / HEADER.parent).glob("limits_*.h"))
    texts = (tree.text(root, header) for header in [HEADER, *more])
    return "\n\n".join(text[text.index(BEGIN_BODY):] for text in texts)


class Row:
    def __init__(self, match: re.Match):
        self.name = match[1] or match[3]
        self.settable = match[3] is not None
        self.numbers = [number(part) for part in (match[2] or match[4]).split(",")]
        comment = " ".join(line.strip()[2:].strip() for line in (match[5] or "").splitlines())
        key, fixed = SET.match(comment), FIXED.match(comment)
        self.key = key[1] if key else ""
        self.fixed = fixed[1] if fixed else ""
        self.comment = FIXED.sub("", SET.sub("", comment)).replace("|", "\\|")

    def cells(self) -> str:
        texts = [value(self.name, count) for count in self.numbers]
        bounds = " to ".join(texts[1:]) if self.settable else f"fixed: {self.fixed}"
        setting = f"`{self.key}`" if self.key else ""
        return f"| `{flag(self.name)}` | {texts[0]} | {bounds} | {setting} | {self.comment} |"


def limits(root: Path) -> list[tuple[str, list[Row]]]:
    """Sections, each with its rows."""
    sections: list[tuple[str, list[Row]]] = [("", [])]
    for block in re.split(r"\n\s*\n", headers(root)):
        heading = re.match(r"((?://[^\n]*\n)+)", block)
        if heading:
            sections.append((" ".join(line[2:].strip() for line in heading[1].splitlines()).rstrip("."), []))
        sections[-1][1].extend(Row(match) for match in LIMIT.finditer(block))
    return [section for section in sections if section[1]]


def rows_of(root: Path) -> list[Row]:
    return [row for _, rows in limits(root) for row in rows]


def page_table(root: Path) -> str:
    out = [BEGIN, "", "| `--limit` | default | bounds | setting | |", "|---|---|---|---|---|"]
    for title, rows in limits(root):
        head, _, rest = title.partition(". ")
        out.append(f"| **{head}** | | | | {rest} |")
        out += [row.cells() for row in rows]
    return "\n".join([*out, "", END])


def source_table(root: Path) -> str:
    lines = [f'    {{"{flag(row.name)}", &limits::{row.name}}},\n' for row in rows_of(root) if row.settable]
    return "".join([BEGIN_TABLE, *lines, END_TABLE])


def replaced(text: str, begin: str, end: str, new: str) -> str:
    return text[:text.index(begin)] + new + text[text.index(end) + len(end):]


def has(text: str, begin: str, end: str, wanted: str) -> bool:
    return begin in text and end in text and text[text.index(begin):text.index(end) + len(end)] == wanted


def declared(root: Path) -> int:
    return len(re.findall(r"^inline ", headers(root), re.MULTILINE))


def elsewhere(root: Path) -> list[str]:
    found = []
    for name in tree.files(root, ".cc", ".h"):
        if name.parts[0] not in FOLDERS or (name.parts[0] == "base" and name.name.startswith("limits")):
            continue
        if re.search(r"_test\.|_benchmark\.|fake_|_fixture|testing", name.as_posix()):
            continue
        for match in ELSEWHERE.finditer(tree.text(root, name)):
            if "fixed: " not in (match[2] or ""):
                found += [f"{name}: {constant} is a limit that cannot be set"
                          for constant in NAMED.findall(match[1])]
    return found


def problems(root: Path) -> list[str]:
    rows = rows_of(root)
    found = []
    if len(rows) != declared(root):
        found.append(f"{HEADER}: {declared(root)} limits are declared, but the table would have {len(rows)}")
    for row in rows:
        if not row.settable and not row.fixed:
            found.append(f"{HEADER}: {row.name} can neither be set nor says (fixed: WHY)")
        if row.settable and (row.fixed or len(row.numbers) != 3
                             or not row.numbers[1] <= row.numbers[0] <= row.numbers[2]):
            found.append(f"{HEADER}: {row.name} wants a default within its bounds, and no (fixed: WHY)")
    marked = {row.key for row in rows if row.key.startswith("limits.")}
    settings = {key for name in tree.files(root, ".cc") if name.parts[:2] == ("server", "app")
                for key in SETTING.findall(tree.text(root, name))}
    found += [f"{HEADER}: no setting {key} in server/app" for key in sorted(marked - settings)]
    found += [f"server/app: {key} is not marked in {HEADER}" for key in sorted(settings - marked)]
    if not has(tree.text(root, PAGE), BEGIN, END, page_table(root)):
        found.append(f"{PAGE}: the table of limits is not that of {HEADER}")
    if not has(tree.text(root, TABLE), BEGIN_TABLE, END_TABLE, source_table(root)):
        found.append(f"{TABLE}: the table of limits is not that of {HEADER}")
    return found + elsewhere(root)


def write(root: Path) -> None:
    for file, begin, end, new in ((PAGE, BEGIN, END, page_table(root)),
                                  (TABLE, BEGIN_TABLE, END_TABLE, source_table(root))):
        text = tree.text(root, file)
        if not has(text, begin, end, new):
            (root / file).write_text(replaced(text, begin, end, new), encoding="utf-8")


def main(arguments: list[str]) -> int:
    root = Path(next((word for word in arguments if not word.startswith("--")), "."))
    if "--write" in arguments:
        write(root)
        return 0
    return tree.report(problems(root), "./dev fix, or move it to base/limits*.h, or say what fixes it: // fixed: WHY")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
