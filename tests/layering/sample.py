"""Makes small source trees for the tests of the checkers."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/check"))


def tree_of(files: dict[str, str]) -> Path:
    """A folder that lives as long as the process, outside any repository."""
    folder = tempfile.TemporaryDirectory(prefix="narthex-sample-")
    _kept.append(folder)
    for name, content in files.items():
        path = Path(folder.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory] = []
