"""What does not show in a short run: many studies one after the other, many sessions that wait, an idle server."""

import json
import shutil
import statistics
import time

import accounting
import servers
from many import Template

STUDIES = 1_900
OBJECTS = 20
BATCH = 100
WAITING = 100_000
SENDING_BATCH = 5_000
IDLE_SECONDS = 30


def _send(bench, server, folder, associations=1):
    finished = accounting.run([bench.programs.sender, folder, "--port", server.port, "--associations", associations], bench.log)
    answer = json.loads(finished.output)
    if answer["refused"]:
        raise RuntimeError(f"{answer['refused']} objects were refused")
    return answer


def studies(bench, quick):
    """Studies back to back by C-STORE, built and archived meanwhile: the rate and the answers of each hundred."""
    count = STUDIES // 10 if quick else STUDIES
    template = Template(bench.programs, bench.work, size=128)
    rows = []
    with bench.running(servers.Narthexd) as server:
        server.server.narthex("project", "update", "BENCH", "--auto-archive", "auto", "--idle-build", "2")
        begin = time.monotonic()
        for first in range(0, count, BATCH):
            folder = bench.work / "batch"
            template.write(folder, range(first, min(first + BATCH, count)), OBJECTS)
            answer = _send(bench, server, folder)
            rows.append({"studies": first + BATCH, "objects_per_second": answer["objects"] / answer["seconds"],
                         "ack_p50_ms": answer["ack_p50_ms"], "ack_p99_ms": answer["ack_p99_ms"],
                         "ack_max_ms": answer["ack_max_ms"]})
            shutil.rmtree(folder)
        while len(server.server.prearchive()) > 0:
            time.sleep(0.2)
        archived = time.monotonic() - begin
    rates = [row["objects_per_second"] for row in rows]
    third = max(1, len(rates) // 3)
    return {"batches": rows, "studies": count, "objects": count * OBJECTS, "first_third": statistics.median(rates[:third]),
            "last_third": statistics.median(rates[-third:]), "ack_p99_ms": max(row["ack_p99_ms"] for row in rows),
            "ack_max_ms": max(row["ack_max_ms"] for row in rows), "all_archived_seconds": archived}


def _cpu(pid, seconds):
    """Seconds of CPU that the server and its PostgreSQL use in `seconds`."""
    before = accounting.snapshot(pid)
    time.sleep(seconds)
    after = accounting.snapshot(pid)
    return {name: after_part.user + after_part.system - before_part.user - before_part.system
            for name, before_part, after_part in (("server", before.server, after.server),
                                                  ("postgres", before.postgres, after.postgres))}


def waiting(bench, quick):
    """Sessions that wait in the prearchive: what more of them cost to receive, to keep, and at the next start."""
    count = WAITING // 20 if quick else WAITING
    template = Template(bench.programs, bench.work)
    rows = []
    with bench.running(servers.Narthexd) as server:
        idle_empty = _cpu(server.pid, IDLE_SECONDS // (10 if quick else 1))
        server.server.narthex("project", "update", "BENCH", "--idle-build", "86400")
        for first in range(0, count, SENDING_BATCH):
            folder = bench.work / "batch"
            template.write(folder, range(first, min(first + SENDING_BATCH, count)))
            answer = _send(bench, server, folder, 4)
            rows.append({"sessions": min(first + SENDING_BATCH, count),
                         "objects_per_second": answer["objects"] / answer["seconds"], "ack_p99_ms": answer["ack_p99_ms"],
                         "memory_mib": accounting.field_of(server.pid, "status", "VmRSS") / 1024})
            shutil.rmtree(folder)
        idle_full = _cpu(server.pid, IDLE_SECONDS // (10 if quick else 1))
        server.server.stop()
        begin = time.monotonic()
        server.server.start()
        start_seconds = time.monotonic() - begin
        server.pid = server.server.process.pid
        memory = accounting.field_of(server.pid, "status", "VmRSS") / 1024
        after_start = _cpu(server.pid, IDLE_SECONDS // (10 if quick else 1))
        # The same again after a kill: nothing could be prepared for the next start.
        server.server.kill()
        begin = time.monotonic()
        server.server.start()
        killed_start_seconds = time.monotonic() - begin
        server.pid = server.server.process.pid
    return {"batches": rows, "sessions": count, "idle_seconds": IDLE_SECONDS // (10 if quick else 1), "idle_cpu_empty": idle_empty,
            "idle_cpu_full": idle_full, "idle_cpu_after_start": after_start, "start_seconds": start_seconds,
            "start_after_kill_seconds": killed_start_seconds, "memory_mib_after_start": memory}
