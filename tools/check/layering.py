"""Checks that #includes point only where tools/check/layers.toml allows.

  tools/check/layering.py [ROOT]
"""

import re
import sys
import tomllib
from pathlib import Path

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(folder + "/")


class Layers:
    def __init__(self, config: dict):
        self.folders = config["folders"]
        self.also_in_tests = config.get("tests", {}).get("also", [])
        self.foreign = config.get("foreign", {})
        self.tops = {folder.split("/")[0] for folder in self.folders}

    def owner(self, path: str) -> str | None:
        """The longest listed folder that holds `path`."""
        return max((f for f in self.folders if within(path, f)), key=len, default=None)

    def cycle(self) -> list[str]:
        """A cycle of what is declared, or []."""
        done: set[str] = set()

        def visit(folder: str, way: list[str]) -> list[str]:
            if folder in way:
                return way[way.index(folder):] + [folder]
            if folder in done:
                return []
            for allowed in self.folders[folder]:
                for below in (f for f in self.folders if within(f, allowed) and f != folder):
                    # "server" holds main.cc alone; a list that says "server" means the folders below it.
                    if below == allowed and any(within(f, below) and f != below for f in self.folders):
                        continue
                    if found := visit(below, way + [folder]):
                        return found
            done.add(folder)
            return []

        return next((c for c in (visit(f, []) for f in self.folders) if c), [])

    def problem(self, name: str, quoted: bool, target: str, beside: bool) -> str | None:
        """Why the file `name` may not include `target`, or None."""
        owner = self.owner(name)
        if quoted and beside:
            return "include it by its full path from the root"
        for prefix, allowed in self.foreign.items():
            if target.startswith(prefix):
                ok = any(within(name, folder) for folder in allowed)
                return None if ok else f"only {', '.join(allowed)} may include {prefix}*"
        if target.split("/")[0] not in self.tops or "/" not in target:
            return None
        allowed = list(self.folders[owner])
        if name.endswith(("_test.cc", "_benchmark.cc", "_fuzzer.cc")):
            allowed += self.also_in_tests
        if self.owner(target) == owner or any(within(target, folder) for folder in allowed):
            return None
        return f"{owner} may include only {', '.join(allowed) or 'nothing'} and itself"


def check(root: Path) -> list[str]:
    layers = Layers(tomllib.loads(tree.text(root, Path("tools/check/layers.toml"))))
    problems = []
    if cycle := layers.cycle():
        problems.append("tools/check/layers.toml: cycle: " + " -> ".join(cycle))
    for name in tree.files(root, *tree.CPP):
        if layers.owner(str(name)) is None:
            problems.append(f"{name}: its folder is not listed in tools/check/layers.toml")
            continue
        for number, line in enumerate(tree.text(root, name).splitlines(), 1):
            if not (match := INCLUDE.match(line)):
                continue
            quoted, target = match[1] == '"', match[2]
            beside = "/" not in target and (root / name.parent / target).is_file()
            if why := layers.problem(str(name), quoted, target, beside):
                problems.append(f'{name}:{number}: "{target}": {why}')
    return problems


if __name__ == "__main__":
    sys.exit(tree.report(check(Path(sys.argv[1] if len(sys.argv) > 1 else ".")),
                         "move the code down, or pass what is needed in through an interface; a new arrow is a "
                         "change of design: tools/check/layers.toml and ARCHITECTURE.md"))
