"""What an operator sees when something fails stands in docs/failures.md: every text that is logged as an error or a warning, and
nothing there that the program does not say.

  tools/check/failures.py [ROOT]
"""

import re
import sys
from pathlib import Path

import tree

PAGE = Path("docs/failures.md")
FOLDERS = ("server", "storage", "base")
CALL = re.compile(r"\bLog\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
TOLD = re.compile(r"\blog `([^`]+)`")
NAMED = re.compile(r"`(narthex_\w+)[`{]")
METRIC = re.compile(r'\b(?:Count|Set|ObserveSeconds)\(\s*"(\w+)"')


def arguments(source: str, start: int) -> list[str]:
    """The arguments of the call whose parenthesis opens just before `start`."""
    found, depth, quoted, begin = [], 1, False, start
    at = start
    while at < len(source):
        letter = source[at]
        if quoted:
            at += letter == "\\"
            quoted = letter != '"'
        elif letter == '"':
            quoted = True
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if depth == 0 or depth == 1 and letter == "," and not quoted:
            found.append(source[begin:at])
            begin = at + 1
        if depth == 0:
            break
        at += 1
    return found


def texts(argument: str) -> list[str]:
    """The texts of an event: literals side by side are one, those of a condition two."""
    return ["".join(LITERAL.findall(part)) for part in re.split(r"\?|\s:\s", argument) if LITERAL.search(part)]


def logged(root: Path) -> tuple[list[tuple[Path, str]], set[str], list[str]]:
    """What is logged as an error or a warning, with where; all that is logged; and calls that cannot be read."""
    alarming, every, unread = [], set(), []
    for name in tree.files(root, ".cc", ".h"):
        if name.parts[0] not in FOLDERS or name.name.endswith(("_test.cc", "_benchmark.cc")):
            continue
        source = tree.text(root, name)
        for call in CALL.finditer(source):
            given = arguments(source, call.end())
            if "LogLevel::k" not in given[0]:
                continue
            said = texts(given[1]) if len(given) > 1 else []
            if not said:
                unread.append(f"{name}: Log(...) without a text of its own")
            every.update(said)
            if "kError" in given[0] or "kWarning" in given[0]:
                alarming += [(name, text) for text in said]
    return alarming, every, unread


def metrics(root: Path) -> set[str]:
    return {"narthex_" + metric for name in tree.files(root, ".cc") if name.parts[0] in FOLDERS
            for metric in METRIC.findall(tree.text(root, name))}


def problems(root: Path) -> list[str]:
    alarming, every, found = logged(root)
    page = tree.text(root, PAGE)
    told = set(TOLD.findall(page))
    found += [f'{name}: "{text}" is not in {PAGE} (write: log `{text}`)' for name, text in alarming if text not in told]
    found += [f"{PAGE}: nothing logs `{text}`" for text in sorted(told - every)]
    known = metrics(root)
    found += [f"{PAGE}: there is no metric {name}" for name in sorted(set(NAMED.findall(page)) - known)]
    return found


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    return tree.report(problems(root), f"say in {PAGE} what it means, what the server does by itself, and what an operator does")


if __name__ == "__main__":
    sys.exit(main())
