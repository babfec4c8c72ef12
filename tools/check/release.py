"""Whether what is called a version is one (CONTRIBUTING.md, "Releasing"). A version is released as soon as tests/golden has its data,
VERSION.tar.xz and VERSION.data.tar.xz; until then it is in development. Checks that

- every place says the version of CMakeLists.txt, and no golden data are of a later one;
- every released version has both files, and every tag vVERSION has them;
- no migration that golden data were made with was edited or removed since, and none was added to a version that is released.

  tools/check/release.py [ROOT]
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import tree

PROJECT = re.compile(r"project\(narthex VERSION (\d+\.\d+\.\d+)")
STATED = re.compile(r'(?:"narthex[\w-]* |kVersion\[\] = "|set_version\(")(\d+\.\d+\.\d+)"')
GOLDEN = re.compile(r"(\d+\.\d+\.\d+)(-dev\.\d{8})?(\.data)?\.tar\.xz")
MIGRATIONS = Path("storage/metadata/migrations")


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def migrations(root: Path) -> dict[str, str]:
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / MIGRATIONS).glob("*.sql")}


def golden(root: Path) -> list[tuple[str, re.Match[str]]]:
    folder = root / "tests/golden"
    return [(path.name, match) for path in sorted(folder.glob("*.tar.xz")) if (match := GOLDEN.fullmatch(path.name))]


def made_with(root: Path, name: str) -> dict[str, str] | None:
    """The migrations that golden data were made with; None: they do not say (those before golden.json)."""
    with tarfile.open(root / "tests/golden" / name) as archive:
        for member in archive:
            if member.name.removeprefix("./") == "golden.json":
                return json.load(archive.extractfile(member)).get("migrations")
    return None


def tags(root: Path) -> list[str]:
    listed = subprocess.run(["git", "-C", str(root), "tag", "--list", "v*"], capture_output=True, text=True, check=False).stdout
    return [tag[1:] for tag in listed.split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]


def problems(root: Path) -> list[str]:
    version = PROJECT.search(tree.text(root, Path("CMakeLists.txt")))[1]
    found = []
    for name in tree.files(root, ".cc", ".h"):
        if name.parts[0] in ("server", "clients") and not name.name.endswith("_test.cc"):
            found += [f"{name}: says version {stated}, CMakeLists.txt {version}"
                      for stated in STATED.findall(tree.text(root, name)) if stated != version]
    there = {name for name, _ in golden(root)}
    released = {match[1] for _, match in golden(root) if not match[2]} | set(tags(root))
    found += [f"tests/golden: {wanted} is missing, and {one} is released" for one in sorted(released, key=number)
              for wanted in (f"{one}.tar.xz", f"{one}.data.tar.xz") if wanted not in there]
    today = migrations(root)
    for name, match in golden(root):
        if number(match[1]) > number(version) and not match[3]:
            found.append(f"tests/golden/{name} is of a later version than CMakeLists.txt: {version}")
        if match[3] or (then := made_with(root, name)) is None:
            continue
        found += [f"{MIGRATIONS}/{migration}.sql was {'edited' if migration in today else 'removed'}, and {name} was made with it"
                  for migration, digest in sorted(then.items()) if today.get(migration) != digest]
        if match[1] == version and not match[2] and set(today) - set(then):
            found.append(f"CMakeLists.txt: {version} is released without {', '.join(sorted(set(today) - set(then)))}: raise the version")
    return found


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    return tree.report(problems(root), 'CONTRIBUTING.md, "Releasing"')


if __name__ == "__main__":
    sys.exit(main())
