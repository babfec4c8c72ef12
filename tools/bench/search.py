#!/usr/bin/python3
"""Measures searches in a large archive: fills the database of a narthexd of its own with COPY, asks, prints a table.

    tools/bench/search.py --scale 1          a million sessions, ten million scans
    tools/bench/search.py --scale 0.1        a tenth

Needs NARTHEX_BIN (default build/release/bin) with narthexd and narthex. The data are made up, the same for the same scale.
"""

import argparse
import datetime
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402
from rpc import Rpc  # noqa: E402

PROJECTS = 200
SCANS = 10
MODALITIES = ["MR"] * 50 + ["CT"] * 30 + ["PT"] * 8 + ["US"] * 6 + ["CR"] * 5 + ["XA"]
TYPES = {"MR": "xnat:mrSessionData", "CT": "xnat:ctSessionData", "PT": "xnat:petSessionData", "US": "xnat:usSessionData",
         "CR": "xnat:crSessionData", "XA": "xnat:xaSessionData"}
DESCRIPTIONS = ["localizer", "t1_mprage_sag", "t2_tse_tra", "flair_tra", "ep2d_diff", "ep2d_bold_rest", "swi", "tof_3d",
                "scout", "CT 1.0 Br40", "lung 1.5", "PET AC", "field_map", "asl_pcasl", "t1_vibe_dixon", "mrcp_haste"]
SCANNERS = [f"SCANNER{i:03}" for i in range(300)]
DAY = datetime.date(2014, 1, 1)

# (who asks, filter, order, what is found: sessions or scans)
SEARCHES = [
    ("admin", "", "", "sessions"),
    ("member", "", "", "sessions"),
    ("outsider", "", "", "sessions"),
    ("admin", 'modality = "MR"', "", "sessions"),
    ("admin", 'modality = "XA"', "", "sessions"),
    ("admin", 'modality = "MR" AND sessionDate >= "2023-01-01"', "", "sessions"),
    ("admin", 'modality = "MR" AND scans.parameters.tr > 2000 AND sessionDate >= "2023-01-01"', "", "sessions"),
    ("member", 'modality = "MR" AND scans.parameters.tr > 2000 AND sessionDate >= "2023-01-01"', "", "sessions"),
    ("admin", "scans.parameters.tr > 9998", "", "sessions"),
    ("admin", 'scans.parameters.te < 2 AND modality = "MR"', "", "sessions"),
    ("admin", 'scans.parameters.sequence = "tfl777"', "", "sessions"),
    ("admin", 'label = "P010_E0000123"', "", "sessions"),
    ("admin", 'label = "P010_*"', "label", "sessions"),
    ("member", 'label:"0123"', "", "sessions"),
    ("admin", 'label:"00777"', "", "sessions"),
    ("admin", 'subject = "S0000042"', "sessionDate desc", "sessions"),
    ("admin", 'studyInstanceUid = "1.2.826.0.1.42"', "", "sessions"),
    ("admin", 'accessionId = "NARTHEX_E00042"', "", "sessions"),
    ("admin", 'project = "P042"', "", "sessions"),
    ("member", 'project = "P001" AND modality = "CT"', "sessionDate desc", "sessions"),
    ("admin", 'project = "P042" AND sessionDate >= "2020-01-01" AND sessionDate < "2020-02-01"', "label", "sessions"),
    ("admin", 'scanner = "SCANNER042"', "", "sessions"),
    ("admin", 'fields.cohort = "cohort77"', "", "sessions"),
    ("admin", "sizeBytes > 9990000000", "sizeBytes desc", "sessions"),
    ("admin", 'NOT modality = "MR" AND NOT modality = "CT"', "sessionDate desc, label", "sessions"),
    ("admin", 'scans.seriesDescription:"mprage"', "", "sessions"),
    ("admin", 'scans.seriesDescription:"rare_protocol_7"', "", "sessions"),
    ("admin", "", "sessionDate", "sessions"),
    ("member", "scans.parameters.tr > 4000", "", "scans"),
    ("admin", 'scans.type = "rare_protocol_7"', "", "scans"),
    ("admin", 'scans.seriesInstanceUid = "1.2.826.0.1.42.3"', "", "scans"),
    ("admin", 'modality = "MR" AND scans.frames > 500', "", "scans"),
]


class Database:
    def __init__(self, server):
        socket = next(pathlib.Path(server.data_dir).rglob(".s.PGSQL.*[0-9]"))
        self.command = ["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", str(socket.parent), "-U", "narthex", "narthex"]

    def run(self, sql):
        return subprocess.run(self.command + ["-At", "-c", sql], check=True, capture_output=True, text=True).stdout

    def copy(self, table, columns, rows):
        process = subprocess.Popen(self.command + ["-c", f"COPY {table} ({columns}) FROM STDIN"], stdin=subprocess.PIPE)
        for row in rows:
            process.stdin.write(("\t".join(row) + "\n").encode())
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit(f"COPY into {table} failed")


def sessions(count):
    rng = random.Random(1)
    for i in range(count):
        project = f"P{i % PROJECTS:03}"
        modality = rng.choice(MODALITIES)
        made = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=i)
        yield (project, f"NARTHEX_E{i:05}", f"00000000-0000-4000-8000-{i:012x}", f"S{i % PROJECTS:03}_{i // PROJECTS // 4}",
               f"{project}_E{i // PROJECTS:07}", f"1.2.826.0.1.{i}", modality, TYPES[modality],
               str(DAY + datetime.timedelta(days=rng.randrange(4000))), rng.choice(SCANNERS), "MAKER", "MODEL", "",
               "Study of something", f'{{"cohort": "cohort{rng.randrange(2000)}"}}', f"{project}/arc001/E{i}", str(SCANS),
               str(SCANS * 100), str(rng.randrange(10_000_000_000)), "ACTIVE", f"{made}+00")


def scans(count):
    rng = random.Random(2)
    modality_rng = random.Random(1)
    for i in range(count):
        project = f"P{i % PROJECTS:03}"
        modality = modality_rng.choice(MODALITIES)
        modality_rng.randrange(4000), modality_rng.choice(SCANNERS)  # as sessions() goes on
        modality_rng.randrange(2000), modality_rng.randrange(10_000_000_000)
        for number in range(SCANS):
            chance = rng.random()
            description = DESCRIPTIONS[int(chance * 16)]
            if chance < 0.00001:
                description = f"rare_protocol_{int(chance * 1e6)}"
            yield (project, f"NARTHEX_E{i:05}", str(number), description, "xnat:mrScanData", f"1.2.826.0.1.{i}.{number}",
                   description, modality, str(int(chance * 600)), "usable", "", "S", "M", "M", "HEAD", description,
                   f'{{"tr": "{chance * 10000:.1f}", "te": "{(chance * 977) % 1 * 100:.2f}", "flip": "{int(chance * 90)}", '
                   f'"sequence": "tfl{int(chance * 1e5) % 5000}", "voxelRes.x": "{1 + int(chance * 4) / 4}"}}', "100", "1000000")


def fill(database, count):
    database.run("SET narthex.system = 'on'; INSERT INTO projects (project_id, name, accessibility) SELECT 'P' || lpad(i::text, 3, '0'), "
                 f"'Project ' || i, CASE WHEN i % 50 = 0 THEN 'PUBLIC' ELSE 'PRIVATE' END FROM generate_series(0, {PROJECTS - 1}) i")
    # Indexes are made behind the rows; that is quicker by far.
    indexes = database.run("SELECT indexname || E'\\t' || indexdef FROM pg_indexes i WHERE tablename IN ('sessions', 'scans', 'subjects') "
                           "AND indexdef NOT LIKE 'CREATE UNIQUE%'").splitlines()
    for line in indexes:
        database.run(f"DROP INDEX {line.split(chr(9))[0]}")
    started = time.monotonic()
    database.copy("subjects", "project_id, subject_id, label, status",
                  ((f"P{p:03}", f"S{p:03}_{n}", f"S{n * PROJECTS + p:07}", "ACTIVE")
                   for n in range(count // PROJECTS // 4 + 1) for p in range(PROJECTS)))
    database.copy("sessions", "project_id, session_id, uid, subject_id, label, study_instance_uid, modality, session_type, session_date, "
                  "scanner, scanner_manufacturer, scanner_model, acquisition_site, description, fields, folder, scan_count, file_count, "
                  "size_bytes, status, create_time", sessions(count))
    database.copy("scans", "project_id, session_id, scan_id, type, xsi_type, series_instance_uid, series_description, modality, frames, "
                  "quality, note, scanner, scanner_manufacturer, scanner_model, body_part, protocol_name, parameters, file_count, "
                  "size_bytes", scans(count))
    copied = time.monotonic()
    for line in indexes:
        database.run("SET maintenance_work_mem = '512MB'; " + line.split("\t")[1])
    database.run("VACUUM ANALYZE subjects, sessions, scans, projects")
    print(f"filled in {copied - started:.0f} s, indexes and statistics in {time.monotonic() - copied:.0f} s, "
          f"{int(database.run('SELECT pg_database_size(current_database())')) / 1e9:.1f} GB", flush=True)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure(rpc, tokens, repetitions):
    everything = []
    print("| ms p50 | p95 | first | who | found | filter | order |\n|---|---|---|---|---|---|---|")
    for who, text, order, what in SEARCHES:
        name = "ArchiveService.Search" + what.capitalize()
        times = []
        for _ in range(repetitions):
            started = time.perf_counter()
            answer = rpc.call(name, {"filter": text, "orderBy": order, "pageSize": 50}, tokens[who], timeout=120)
            times.append((time.perf_counter() - started) * 1000)
            if answer.code.name != "OK":
                raise SystemExit(f"{text}: {answer}")
        everything += times[1:]
        rows = len(answer.reply[0].get(what, ()))
        print(f"| {percentile(times, .5):.1f} | {percentile(times, .95):.1f} | {times[0]:.1f} | {who} | {rows} {what} | `{text}` | {order} |",
              flush=True)
    print(f"\n{len(everything)} searches: median {percentile(everything, .5):.1f} ms, 95 % under {percentile(everything, .95):.1f} ms, "
          f"at most {max(everything):.1f} ms; {100 * sum(t < 20 for t in everything) / len(everything):.1f} % under 20 ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.01, help="1: a million sessions")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--data-dir", help="of a former run: is kept and asked again; default: one that is removed")
    flags = parser.parse_args()
    count = int(1_000_000 * flags.scale)
    with harness.Server(data_dir=flags.data_dir, flags=["--dicom-listen", "off"]) as server:
        database = Database(server)
        tokens = {"admin": server.token}
        if int(database.run("SELECT count(*) FROM projects")) == 0:
            fill(database, count)
            server.stop()  # which knows the projects from its start only
            server.start()
        for user in ("member", "outsider"):
            server.run("user", "create", user)
            tokens[user] = server.narthex("token", "create", "--user", user)["secret"]
        for number in range(5):
            server.narthex("project", "member", "add", f"P{number:03}", "member", "member")
        rpc = Rpc(server.address)
        measure(rpc, tokens, flags.repetitions)
        rpc.close()


if __name__ == "__main__":
    main()
