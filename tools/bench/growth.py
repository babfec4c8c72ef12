"""How cost grows: with the size of objects, and with the number of objects in a session."""

import json
import shutil

import accounting
import servers
from many import Template

OBJECT_KB = (4, 16, 64, 256, 1024, 4096, 16384, 65536)
SIZE_BYTES = 128 << 20  # sent of each object size, at most SIZE_OBJECTS of them
SIZE_OBJECTS = 2000
SESSION_OBJECTS = (10, 100, 1000, 2000, 10_000)


def sizes(bench, quick):
    """C-STORE and upload of objects from 4 kB to 64 MB."""
    rows = []
    for kb in OBJECT_KB[:5] if quick else OBJECT_KB:
        count = max(1, min(SIZE_OBJECTS, SIZE_BYTES // (kb << 10)) // (10 if quick else 1))
        side = int((kb << 10) / 2) ** 0.5
        template = Template(bench.programs, bench.work, size=max(8, int(side)), modality="CT")
        folder = bench.work / "sized"
        template.write(folder, [1], count)
        size = len(template.bytes)
        with bench.running(servers.Narthexd) as server:
            before = accounting.snapshot(server.pid).server
            stored = json.loads(accounting.run([bench.programs.sender, folder, "--port", server.port], bench.log).output)
            used = accounting.snapshot(server.pid).server.minus(before)
            uploaded = bench.narthex_upload_of(server, folder)
        rows.append({"object_bytes": size, "objects": count, "cstore_mb_s": size * count / stored["seconds"] / 1e6,
                     "ack_p50_ms": stored["ack_p50_ms"], "cstore_cpu_us": (used.user + used.system) / count * 1e6,
                     "upload_mb_s": size * count / uploaded.seconds / 1e6})
        shutil.rmtree(folder)
    return rows


def sessions(bench, quick):
    """Build and archive of one session of 10 to 10,000 objects."""
    rows = []
    template = Template(bench.programs, bench.work, size=128)
    for objects in SESSION_OBJECTS[:3] if quick else SESSION_OBJECTS:
        folder = bench.work / "session"
        template.write(folder, [1], objects)
        with bench.running(servers.Narthexd) as server:
            uploaded = json.loads(bench.narthex_upload_of(server, folder).output)["upload"]
            built, answer = bench.timed(server, "commit", uploaded["name"])
            archived, _ = bench.timed(server, "archive", *answer["sessions"])
            database = server.archive_step_seconds("database")
        rows.append({"objects": objects, "build_seconds": built.seconds, "archive_seconds": archived.seconds,
                     "database_seconds": database})
        shutil.rmtree(folder)
    return rows
