"""Makes the golden data of this version: what later versions must still open.

    NARTHEX_BIN=build/dev/bin tests/golden/make_golden.py VERSION

writes VERSION.tar.xz, a backup of a server with rows in every table, and VERSION.data.tar.xz, the data directory of that server
killed amid a merge. VERSION is X.Y.Z for a release, X.Y.Z-dev.YYYYMMDD before it. Once made, a file is never made again: it is
what that program wrote. test_golden.py opens all of them.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[0] / "e2e"))

from harness import Server, phantom  # noqa: E402

SCRIPT = 'version "6.1"\n(0008,0018) := hashUID[(0008,0018)]\n(0010,0010) := "GONE"\n'
# Filled only while something is under way.
TRANSIENT = {"session_holds", "reservations"}


def rows(server):
    """How many rows each table has."""
    names = server.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace").split()
    return {name: int(server.sql(f"SELECT count(*) FROM {name}")) for name in sorted(names)}


def session_of(server, label):
    return next(row["name"] for row in server.prearchive() if row["label"] == label)


def fill(server, sent):
    """The sessions that every golden has, and then something in each table."""
    server.narthex("project", "create", "GOLD")
    server.narthex("settings", "set", "prearchive.idle_build_seconds", "86399")
    for label, seed in (("FILED1", 1), ("READY1", 2), ("ARRIVING1", 3), ("HIDDEN1", 4), ("CODED1", 5)):
        phantom(sent / label, session=label, project="GOLD", subject=f"S{seed}", slices=3, size=16, seed=seed)
    server.narthex("upload", sent / "FILED1", "--project", "GOLD", "--archive")
    server.narthex("upload", sent / "READY1", "--project", "GOLD", "--no-commit")
    server.narthex("prearchive", "build", session_of(server, "READY1"))
    server.storescu("--to", "+sd", "+r", sent / "ARRIVING1")

    server.narthex("user", "create", "ann", "--display-name", "Ann Other")
    server.narthex("token", "create", "--user", "ann", "--expires", "30d")
    server.narthex("project", "member", "add", "GOLD", "ann", "member")
    server.narthex("project", "update", "GOLD", "--alias", "GOLDEN", "--comment", "so that there is a history")
    server.narthex("receiver", "create", "GOLD_AE", "--project", "GOLD", "--commitment", "PACS=127.0.0.1:11112")
    server.narthex("routing", "study", "set", "1.2.840.99999.1", "--project", "GOLD", "--subject", "S9", "--session", "ROUTED1")
    filters = sent / "filter"
    filters.write_text("LOCALIZER.*\n")
    server.narthex("filter", "set", filters, "--project", "GOLD")

    server.narthex("project", "create", "CODED")
    script = sent / "script.das"
    script.write_text(SCRIPT)
    server.narthex("anon", "set", "--project", "CODED", script)
    server.narthex("anon", "enable", "--project", "CODED")
    server.narthex("upload", sent / "CODED1", "--project", "CODED", "--archive")

    server.narthex("project", "field", "set", "GOLD", "dose", "--type", "float")
    server.narthex("session", "field", "set", "GOLD/FILED1", "dose=1.5")
    note = sent / "note.txt"
    note.write_text("kept\n")
    gone = sent / "gone.txt"
    gone.write_text("taken out\n")
    server.narthex("session", "resource", "add", "GOLD/FILED1", "NOTES", note, gone)
    server.narthex("session", "resource", "remove", "GOLD/FILED1", "NOTES", "gone.txt")
    server.narthex("session", "share", "GOLD/FILED1", "CODED", "--label", "SHARED1")
    server.narthex("upload", sent / "HIDDEN1", "--project", "GOLD", "--archive")
    server.narthex("session", "quarantine", "GOLD/HIDDEN1")


def pack(folder, target):
    listed = subprocess.run(["tar", "-C", folder, "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "--exclude=./backup", "-cf-", "."],
                            check=True, stdout=subprocess.PIPE).stdout
    target.write_bytes(subprocess.run(["xz", "-9e"], input=listed, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{target}: {target.stat().st_size} bytes")


def main():
    version = sys.argv[1]
    backup, data = HERE / f"{version}.tar.xz", HERE / f"{version}.data.tar.xz"
    for target in (backup, data):
        assert not target.exists(), f"{target} is there; it is never made again"
    with tempfile.TemporaryDirectory() as sent:
        sent = pathlib.Path(sent)
        server = Server()
        server.start()
        fill(server, sent)
        made = pathlib.Path(server.narthex("server", "backup", "golden")["path"])
        expected = {"version": version, "rows": rows(server), "coded": server.files("CODED/CODED1"),
                    "migrations": dict(row.split("|") for row in server.sql("SELECT name, sha256 FROM schema_migrations").split())}
        empty = {name for name, count in expected["rows"].items() if count == 0}
        assert empty <= TRANSIENT, f"tables without rows: {sorted(empty - TRANSIENT)}"
        (made / "golden.json").write_text(json.dumps(expected, indent=1))
        pack(made, backup)

        # More of FILED1, merged into it: killed between the first link and the transaction.
        server.stop()
        (made / "golden.json").unlink()
        server.environment["NARTHEX_CRASH_POINT"] = "merge.written"
        server.start()
        subprocess.run([os.environ["NARTHEX_BIN"] + "/narthex-phantom", sent / "MORE", "--modality", "MR", "--series", "3", "--slices", "3",
                        "--size", "16", "--project", "GOLD", "--subject", "S1", "--session", "FILED1", "--seed", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        server.run("upload", sent / "MORE", "--project", "GOLD", "--auto-archive", "auto", timeout=60)
        server.process.wait(timeout=60)
        time.sleep(2)  # PostgreSQL stops with it
        (server.data_dir / "d/golden.json").write_text(json.dumps(expected, indent=1))
        pack(server.data_dir / "d", data)
        server._unverified = False
        print(f"kept for a look: {server.data_dir}", hashlib.sha256(data.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
