#!/usr/bin/python3
"""Measures searches in a large archive: fills the database of a narthexd of its own with COPY, asks, prints a table.

    tools/bench/search.py --scale 1          a million sessions, ten million scans
    tools/bench/search.py --scale 0.1        a tenth

Needs NARTHEX_BIN (default build/release/bin) with narthexd and narthex. The data are made up, the same for the same scale.
"""

import argparse
import datetime
import os
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

# Who asks: all of it; five projects of 200 and the public ones; half of them; the public ones only.
ASKERS = ("admin", "member", "staff", "outsider")
# (filter, order, what is found: sessions or scans)
SEARCHES = [
    ("", "", "sessions"),
    ('modality = "MR"', "", "sessions"),
    ('modality = "XA"', "", "sessions"),
    ('modality = "MR" AND sessionDate >= "2023-01-01"', "", "sessions"),
    ('modality = "MR" AND scans.parameters.tr > 2000 AND sessionDate >= "2023-01-01"', "", "sessions"),
    ("scans.parameters.tr > 9998", "", "sessions"),
    ('scans.parameters.te < 2 AND modality = "MR"', "", "sessions"),
    ('scans.parameters.sequence = "tfl777"', "", "sessions"),
    ('label = "P001_E0000123"', "", "sessions"),
    ('label = "P001_*"', "label", "sessions"),
    ('label:"00777"', "", "sessions"),
    ('subject = "S0000042"', "sessionDate desc", "sessions"),
    ('studyInstanceUid = "1.2.826.0.1.4201"', "", "sessions"),
    ('accessionId = "NARTHEX_E04201"', "", "sessions"),
    ('project = "P001"', "", "sessions"),
    ('project = "P001" AND modality = "CT"', "sessionDate desc", "sessions"),
    ('project = "P002" AND sessionDate >= "2020-01-01" AND sessionDate < "2020-02-01"', "label", "sessions"),
    ('projectTitle = "Project 3"', "", "sessions"),
    ('scanner = "SCANNER042"', "", "sessions"),
    ('fields.cohort = "cohort77"', "", "sessions"),
    ('document.dcmPatientId = "PAT0000123"', "", "sessions"),
    ("document.dcmPatientWeight > 119.9", "", "sessions"),
    ("sizeBytes > 9990000000", "sizeBytes desc", "sessions"),
    ('NOT modality = "MR" AND NOT modality = "CT"', "sessionDate desc, label", "sessions"),
    ('scans.seriesDescription:"mprage"', "", "sessions"),
    ('scans.seriesDescription:"rare_protocol_7"', "", "sessions"),
    ("", "sessionDate", "sessions"),
    ("scans.parameters.tr > 4000", "", "scans"),
    ('scans.type = "rare_protocol_7"', "", "scans"),
    ('scans.seriesInstanceUid = "1.2.826.0.1.4201.3"', "", "scans"),
    ('modality = "MR" AND scans.frames > 500', "", "scans"),
]
COUNTS = ["", 'modality = "MR"', 'project = "P001"', 'scanner = "SCANNER042"', 'fields.cohort = "cohort77"',
          'modality = "MR" AND scans.parameters.tr > 2000 AND sessionDate >= "2023-01-01"']


class Server(harness.Server):
    def check_data(self):
        """Rows without files are what this is about."""


class Database:
    def __init__(self, server):
        socket = next(pathlib.Path(server.data_dir).rglob(".s.PGSQL.*[0-9]"))
        self.command = ["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", str(socket.parent), "-U", "narthex", "narthex"]

    def run(self, sql):
        return subprocess.run(self.command + ["-At", "-c", sql], check=True, capture_output=True, text=True,
                              env=dict(os.environ, PGOPTIONS="-c narthex.system=on")).stdout

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
    indexes = database.run("SELECT indexname || E'\\t' || indexdef FROM pg_indexes i WHERE tablename IN ('sessions', 'scans', 'subjects', "
                           "'session_facts') AND indexdef NOT LIKE 'CREATE UNIQUE%'").splitlines()
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
    database.run("SET narthex.system = 'on'; INSERT INTO session_facts SELECT project_id, session_id, jsonb_build_object("
                 "'dcmPatientId', 'PAT' || lpad((right(session_id, -9)::bigint / 4)::text, 7, '0'), "
                 "'dcmPatientWeight', (40 + right(session_id, -9)::bigint * 7919 % 800 / 10.0)::text, 'operator', 'op') FROM sessions")
    copied = time.monotonic()
    for line in indexes:
        database.run("SET maintenance_work_mem = '512MB'; " + line.split("\t")[1])
    database.run("VACUUM ANALYZE subjects, sessions, scans, session_facts, projects")
    print(f"filled in {copied - started:.0f} s, indexes and statistics in {time.monotonic() - copied:.0f} s, "
          f"{int(database.run('SELECT pg_database_size(current_database())')) / 1e9:.1f} GB", flush=True)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0


def ask(rpc, token, text, order, what, repetitions, **more):
    """Milliseconds of each call, the first of them first; and the last answer."""
    times, answer = [], None
    for _ in range(repetitions):
        started = time.perf_counter()
        answer = rpc.call("ArchiveService.Search" + what.capitalize(), {"filter": text, "orderBy": order, "pageSize": 50, **more},
                          token, timeout=120)
        times.append((time.perf_counter() - started) * 1000)
        if answer.code.name != "OK":
            raise SystemExit(f"{text}: {answer}")
    return times, answer.reply[0]


def measure(rpc, tokens, repetitions):
    everything = {who: [] for who in ASKERS}
    print("| " + " | ".join(f"{who} p50 / p95" for who in ASKERS) + " | found | filter | order |\n|" + "---|" * (len(ASKERS) + 3))
    for text, order, what in SEARCHES:
        cells, found = [], []
        for who in ASKERS:
            times, reply = ask(rpc, tokens[who], text, order, what, repetitions)
            if reply.get("nextPageToken"):
                times += ask(rpc, tokens[who], text, order, what, repetitions, pageToken=reply["nextPageToken"])[0][1:]
            everything[who] += times[1:]
            found.append(str(len(reply.get(what, ()))))
            cells.append(f"{percentile(times[1:], .5):.1f} / {percentile(times[1:], .95):.1f}")
        print(f"| {' | '.join(cells)} | {', '.join(found)} {what} | `{text}` | {order} |", flush=True)
    everything["all"] = [t for times in everything.values() for t in times]
    print()
    for who, times in everything.items():
        print(f"{who}: {len(times)} searches, first and second pages: median {percentile(times, .5):.1f} ms, 95 % under "
              f"{percentile(times, .95):.1f} ms, at most {max(times):.1f} ms; "
              f"{100 * sum(t < 20 for t in times) / len(times):.1f} % under 20 ms")
    print("\n| " + " | ".join(f"{who} p50" for who in ASKERS) + " | counted | filter |\n|" + "---|" * (len(ASKERS) + 2))
    for text in COUNTS:
        cells, sizes = [], []
        for who in ASKERS:
            times, reply = ask(rpc, tokens[who], text, "", "sessions", 4, countTotal=True)
            cells.append(f"{percentile(times[1:], .5):.0f}")
            sizes.append(str(reply.get("totalSize", 0)))
        print(f"| {' | '.join(cells)} | {', '.join(sizes)} | `{text}` |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.01, help="1: a million sessions")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--data-dir", help="is kept, and asked again by the next run with it; default: one that is removed")
    parser.add_argument("--fill-only", action="store_true", help="makes the database in --data-dir and asks nothing")
    flags = parser.parse_args()
    count = int(1_000_000 * flags.scale)
    with Server(data_dir=flags.data_dir, flags=["--dicom-listen", "off"]) as server:
        database = Database(server)
        tokens = {"admin": server.token}
        if int(database.run("SELECT count(*) FROM projects")) == 0:
            fill(database, count)
            server.stop()  # which knows the projects from its start only
            server.start()
        if flags.fill_only:
            return
        for user in ASKERS[1:]:
            server.run("user", "create", user)
            tokens[user] = server.narthex("token", "create", "--user", user)["secret"]
        members = [(f"P{number:03}", "member") for number in range(5)] + [(f"P{number:03}", "staff") for number in range(PROJECTS // 2)]
        known = database.run("SELECT project_id || ' ' || user_name FROM members").split("\n")
        for project, user in members:
            if f"{project} {user}" not in known:
                server.narthex("project", "member", "add", project, user, "member")
        rpc = Rpc(server.address)
        measure(rpc, tokens, flags.repetitions)
        rpc.close()


if __name__ == "__main__":
    main()
