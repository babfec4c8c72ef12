"""What must not be found outside its places, whatever a test does: every server of the end-to-end tests is searched for it
when it stops. test_phi.py marks more attributes on more ways through one server.
"""

import os
import pathlib
import re
import subprocess
import urllib.request

# Of every study of narthex-phantom: the ReferringPhysicianName, and the PatientBirthDate as PostgreSQL and DICOM write it.
MARKS = re.compile(rb"Referrer\^Rita|(?<![\d.])19[4-8]\d-?06-?15(?![\d.])")
# The tables that are the place of patients' values (docs/formats/database.md).
PLACES = ("session_documents", "session_facts")


def _dump(server):
    """Every row of the server's database outside the places; nothing if it does not answer."""
    binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    command = [binaries / "pg_dump", "--data-only", *(f"--exclude-table-data={table}" for table in PLACES)]
    if "--postgres" in server.flags:
        command += ["--dbname", server.flags[server.flags.index("--postgres") + 1]]
    else:
        sockets = list((server.data_dir / "d/postgres").rglob(".s.PGSQL.*[0-9]"))
        if not sockets:
            return b""
        command += ["-h", sockets[0].parent, "-U", "narthex", "narthex"]
    return subprocess.run(command, capture_output=True, timeout=60).stdout


def _is_log(path):
    """RocksDB's write-ahead logs, which have numbers for names, hold rows of the index: a place."""
    return path.name == "LOG" or (path.suffix == ".log" and not path.stem.isdigit())


def search(server):
    """The places where a mark was found, said without it; for a server that still runs."""
    found = []
    for path in server.data_dir.rglob("*"):
        if MARKS.search(os.fsencode(path.name)):
            found.append(f"the name of a file in {path.parent}")
        if _is_log(path) and MARKS.search(path.read_bytes()):
            found.append(f"the log {path}")
    if MARKS.search(_dump(server)):
        found.append("a table of the database")
    if server.ready.get("metrics", "off") not in ("", "off"):
        with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=10) as page:
            if MARKS.search(page.read()):
                found.append("a metric")
    return found
