"""What must not be found outside its places, whatever a test does: every server of the end-to-end tests is searched for it
when it stops and when it is killed, and so is every error text that the harness and its API clients are told. test_phi.py
marks more attributes on more ways through one server.
"""

import os
import pathlib
import re
import subprocess
import urllib.request

import external_postgres

# The patient that harness.phantom() gives to a study whose subject and session are said in its comments.
PATIENT_NAME, PATIENT_ID = "Markmann^Mia", "QMRN0815"
# Those, what narthex-phantom writes into every study (the PatientBirthDate as PostgreSQL and DICOM write it, too), and
# whatever a test marks with QQ. Nothing of it takes part in routing.
MARKS = re.compile(rb"Markmann|QMRN0815|Sliceville|Referrer\^Rita|Performer\^Paul|Operator\^Olga"
                   # Not within a number or a hexadecimal digest.
                   rb"|(?<![\da-f.])(?:19[4-8]\d-?06-?15|1917-?03-?17)(?![\da-f.])|QQ[A-Z]{3}")
# A word of 63 letters and digits that pg_dump draws by lot for each dump.
DRAWN_BY_PG_DUMP = re.compile(rb"^\\(?:un)?restrict .*$", re.MULTILINE)
SESSION_OF_ROCKSDB = re.compile(rb"(?<![0-9A-Z])[0-9A-Z]{20}(?![0-9A-Z])")
# Of an institution, not of a patient: a session's acquisition site is a field, whose former values are kept.
SITES = re.compile(rb"Phantom General Hospital|QQMARKHOSPITAL")
SITE_TABLES = ("sessions", "session_history")
# The tables that are the place of patients' values (docs/formats/database.md).
PLACES = ("session_documents", "session_facts")

_heard = []


def listen(what, text):
    """Remembers that an error text holds a mark; the next search says so. Thread-safe."""
    data = text if isinstance(text, bytes) else str(text).encode(errors="replace")
    if MARKS.search(data) or SITES.search(data):
        _heard.append(f"what {what} said")


def listen_to_call(what, call):
    """The same of a gRPC call that has ended, or of its error."""
    listen(what, f"{call.details()} {call.trailing_metadata()}")


def dump(server, *flags):
    """Every row of the server's database: as a superuser, whom no policy binds."""
    binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    result = subprocess.run([binaries / "pg_dump", "--data-only", "--lock-wait-timeout=20s", *flags, "--dbname",
                             server.superuser()], capture_output=True, timeout=60)
    if result.returncode != 0:
        raise AssertionError(f"the database cannot be searched: {result.stderr.decode(errors='replace')}")
    return result.stdout


def rows(server):
    """Table -> its rows, without the places."""
    text = dump(server, *(f"--exclude-table-data={table}" for table in PLACES))
    text = DRAWN_BY_PG_DUMP.sub(b"", text)
    parts = re.split(rb"^COPY \w+\.(\w+) ", text, flags=re.MULTILINE)
    return {table.decode(): text for table, text in zip(parts[1::2], parts[2::2])}


def search_database(server):
    """The tables that hold a mark; for a server whose PostgreSQL answers."""
    return [f"the table {table}" for table, text in rows(server).items()
            if MARKS.search(SITES.sub(b"", text) if table in SITE_TABLES else text)
            or (table not in SITE_TABLES and SITES.search(text))]


def search_metrics(server):
    """For a server that runs."""
    if server.ready.get("metrics", "off") in ("", "off"):
        return []
    with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=10) as page:
        text = page.read()
    return ["a metric"] if MARKS.search(text) or SITES.search(text) else []


def _is_log(name):
    """RocksDB's write-ahead logs, which have numbers for names, hold rows of the index: a place."""
    stem, suffix = os.path.splitext(name)
    return name == "LOG" or name.startswith("LOG.old.") or (suffix == ".log" and not stem.isdigit())


def search_files(server):
    """Names of files, logs (an external PostgreSQL's, too) and what was heard since the last search."""
    found, logs = [], external_postgres.Cluster.logs()
    for folder, folders, files in os.walk(server.data_dir):
        found += [f"the name of a file in {folder}" for name in (*folders, *files) if MARKS.search(os.fsencode(name))]
        logs += [pathlib.Path(folder, name) for name in files if _is_log(name)]
    for log in logs:
        try:
            text = log.read_bytes()
        except FileNotFoundError:
            continue  # of RocksDB, which keeps only the last ones
        # RocksDB draws the names of its sessions by lot.
        if MARKS.search(SESSION_OF_ROCKSDB.sub(b"", text)) or SITES.search(text):
            found.append(f"the log {log}")
    while _heard:
        found.append(_heard.pop())
    return found
