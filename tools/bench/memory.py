"""How much memory the server takes: one very large object, and many senders at once."""

import struct

import accounting
import servers

LIMIT_BYTES = 400 << 20


def write_large_object(small, path, pixel_bytes):
    """A file with the header of `small` (explicit little endian) and other, many pixels."""
    head = small.read_bytes()
    at = head.rindex(b"\xe0\x7f\x10\x00OW\x00\x00")
    block = bytes(range(256)) * 4096
    with open(path, "wb") as file:
        file.write(head[:at + 8] + struct.pack("<I", pixel_bytes))
        for _ in range(pixel_bytes // len(block)):
            file.write(block)


def measure(bench, data, quick):
    small = next(path for path in sorted(data.folder.rglob("*")) if path.is_file())
    pixel_bytes = 256 << 20 if quick else 2 << 30
    large = bench.work / "large.dcm"
    write_large_object(small, large, pixel_bytes)
    kept = []
    with bench.running(servers.Narthexd) as server:
        idle = accounting.peak_memory_bytes(server.pid)
        sent = accounting.run([bench.programs.narthex, "--output", "json", "upload", large, "--project", "BENCH"],
                              bench.log, server.environment)
        kept.append(row(f"one object of {pixel_bytes >> 20} MiB by narthex upload", server, idle, sent))
    large.unlink()
    with bench.running(servers.Narthexd) as server:
        idle = accounting.peak_memory_bytes(server.pid)
        sent = accounting.run([bench.programs.sender, data.folder, "--port", server.port, "--associations", 64],
                              bench.log)
        kept.append(row(f"64 associations at once, {data.objects} {data.name} objects", server, idle, sent))
    return kept


def row(what, server, idle, sent):
    peak = accounting.peak_memory_bytes(server.pid)
    return {"what": what, "idle": idle, "peak": peak, "client_peak": sent.peak_bytes, "seconds": sent.seconds,
            "within_limit": peak < LIMIT_BYTES}
