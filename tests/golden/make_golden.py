"""Makes the golden backup of this version: what later versions must still open.

    NARTHEX_BIN=build/dev/bin tests/golden/make_golden.py 0.1.0     writes tests/golden/0.1.0.tar.xz

Once a version is released its file is never made again. test_golden.py restores every one of them.
"""

import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[0] / "e2e"))

from harness import Server, phantom  # noqa: E402


def main():
    version = sys.argv[1]
    target = HERE / f"{version}.tar.xz"
    assert not target.exists(), f"{target} is there; a released version is never made again"
    with tempfile.TemporaryDirectory() as sent, Server() as server:
        sent = pathlib.Path(sent)
        server.narthex("project", "create", "GOLD")
        server.narthex("settings", "set", "prearchive.idle_build_seconds", "86399")
        for label, seed in (("FILED1", 1), ("READY1", 2), ("ARRIVING1", 3)):
            phantom(sent / label, session=label, project="GOLD", subject=f"S{seed}", slices=3, size=16, seed=seed)
        server.narthex("upload", sent / "FILED1", "--project", "GOLD", "--archive")
        server.narthex("upload", sent / "READY1", "--project", "GOLD", "--no-commit")
        server.narthex("prearchive", "build", next(row["name"] for row in server.prearchive()))
        server.storescu("--to", "+sd", "+r", sent / "ARRIVING1")
        made = server.narthex("server", "backup", "golden")
        subprocess.run(["tar", "-C", made["path"], "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "-cJf", target, "."],
                       check=True)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
