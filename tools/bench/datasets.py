"""The data that is sent: synthetic studies of narthex-phantom, the same bytes every time."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class DataSet:
    name: str
    folder: Path
    studies: list  # (project, subject, session) of each
    files: list = field(default_factory=list)
    objects: int = 0
    size_bytes: int = 0

    def part(self, objects):
        """The first so many objects."""
        files = self.files[:objects]
        return DataSet(self.name, self.folder, self.studies, files, len(files), sum(path.stat().st_size for path in files))


#          studies, series of each, slices of each, rows and columns
SHAPES = {"ct": (5, 4, 100, 512), "mr": (10, 5, 200, 128)}


def make(name, programs, work, quick):
    """Writes the data set `name`; `quick` makes a tenth of it."""
    studies, series, slices, size = SHAPES[name]
    if quick:
        slices //= 10
    data = DataSet(name, work / "data" / name, [])
    for number in range(1, studies + 1):
        names = ("BENCH", f"{name.upper()}{number}", f"{name.upper()}{number}_1")
        data.studies.append(names)
        subprocess.run(
            [programs.phantom, data.folder / names[2], "--modality", name.upper(), "--series", str(series), "--slices",
             str(slices), "--size", str(size), "--project", names[0], "--subject", names[1], "--session", names[2],
             "--seed", str(number)], check=True, stdout=subprocess.DEVNULL)
    data.files = sorted(path for path in data.folder.rglob("*") if path.is_file())
    data.objects = len(data.files)
    data.size_bytes = sum(path.stat().st_size for path in data.files)
    subprocess.run(["sync", "-f", data.folder], check=True)
    print(f"{name}: {data.objects} objects, {data.size_bytes / 1e6:.0f} MB", file=sys.stderr)
    return data
