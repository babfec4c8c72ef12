"""Medians over the rounds, and ratios to narthexd, as Markdown."""

import statistics

OURS = "narthexd"
COLUMNS = ["server", "objects/s", "MB/s", "MB/s durable", "ours/theirs", "ack p50 / p99 ms", "server CPU us/object (user+sys)",
           "PostgreSQL", "client CPU", "written/sent", "peak MiB"]


def _median(rows, value):
    return statistics.median(value(row) for row in rows)


def _per_object(rows, *keys):
    return _median(rows, lambda row: sum(row[key] for key in keys) / row["objects"] * 1e6)


def _rate(rows):
    return _median(rows, lambda row: row["objects"] / row["seconds_durable"])


def _line(name, rows, ours):
    first = rows[0]
    acks = "-"
    if "ack_p50_ms" in first:
        acks = (f"{_median(rows, lambda row: row['ack_p50_ms']):.2f} / "
                f"{_median(rows, lambda row: row['ack_p99_ms']):.2f}")
    has_server = first["server_peak"] > 0
    written = _median(rows, lambda row: (row["written_bytes"] + row["postgres_written_bytes"]) / row["bytes"])
    cells = [
        name,
        f"{_median(rows, lambda row: row['objects'] / row['seconds']):.0f}",
        f"{_median(rows, lambda row: row['bytes'] / row['seconds']) / 1e6:.0f}",
        f"{_median(rows, lambda row: row['bytes'] / row['seconds_durable']) / 1e6:.0f}",
        f"{_rate(ours) / _rate(rows):.2f}" if ours and ours is not rows else "",
        acks,
        f"{_per_object(rows, 'server_user'):.0f}+{_per_object(rows, 'server_system'):.0f}" if has_server else "-",
        f"{_per_object(rows, 'postgres_user', 'postgres_system'):.0f}" if has_server else "-",
        f"{_per_object(rows, 'client_user', 'client_system'):.0f}",
        f"{written:.2f}" if has_server else "-",
        f"{_median(rows, lambda row: row['server_peak']) / (1 << 20):.0f}" if has_server else "-",
    ]
    return "| " + " | ".join(cells) + " |"


def _groups(rows, key):
    found = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _section(title, by_name):
    ours = by_name.get(OURS)
    lines = ["", f"### {title}", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return lines + [_line(name, rows, ours) for name, rows in by_name.items()]


def markdown(results):
    facts, rows = results["facts"], results["rows"]
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    for data, of_data in _groups(rows, lambda row: row["data"]).items():
        first = of_data[0]
        lines += ["", f"## {data.upper()}: {first['objects']} objects of {first['bytes'] / first['objects'] / 1e3:.0f} kB"]
        copies = {step: [row for row in of_data if row["step"] == step] for step in ("copy", "copy, cold")}
        for (step, client), of_step in _groups(of_data, lambda row: (row["step"], row["client"])).items():
            if step in copies:
                continue
            by_name = _groups(of_step, lambda row: row["server"])
            if copies["copy"] and step.startswith(("upload", "archive")):
                by_name["cp -r, then sync"] = copies["copy"]
            if copies["copy, cold"] and step.startswith("archive"):
                by_name["cp -r from the disk, then sync"] = copies["copy, cold"]
            lines += _section(f"{step}, {client}", by_name)
    lines += _memory(results.get("memory"))
    lines += _studies(results.get("studies")) + _waiting(results.get("waiting")) + _growth(results.get("growth"))
    return "\n".join(lines) + "\n"


def _table(title, head, rows):
    return ["", f"## {title}", "", "| " + " | ".join(head) + " |", "|--:" * len(head) + "|"] + [
        "| " + " | ".join(row) + " |" for row in rows]


def _memory(kept):
    if not kept:
        return []
    return _table("Memory of the server", ["", "idle MiB", "peak MiB", "client's peak MiB", "seconds"],
                  [[one["what"], f"{one['idle'] >> 20}", f"{one['peak'] >> 20}", f"{one['client_peak'] >> 20}",
                    f"{one['seconds']:.1f}"] for one in kept])


def _studies(found):
    if not found:
        return []
    return _table(f"{found['studies']} studies back to back, {found['objects']} objects",
                  ["objects/s, first third", "last third", "ack p99 ms, worst batch", "ack max ms", "all archived after s"],
                  [[f"{found['first_third']:.0f}", f"{found['last_third']:.0f}", f"{found['ack_p99_ms']:.1f}",
                    f"{found['ack_max_ms']:.1f}", f"{found['all_archived_seconds']:.0f}"]])


def _waiting(found):
    if not found:
        return []
    first, last = found["batches"][0], found["batches"][-1]
    return _table(f"{found['sessions']} sessions that wait in the prearchive", ["", ""], [
        ["objects/s into the first and the last batch", f"{first['objects_per_second']:.0f}, {last['objects_per_second']:.0f}"],
        ["memory MiB after the first and the last batch", f"{first['memory_mib']:.0f}, {last['memory_mib']:.0f}"],
        ["start after a stop, s", f"{found['start_seconds']:.2f}"],
        ["start after a kill, s", f"{found['start_after_kill_seconds']:.2f}"],
        ["memory after the start, MiB", f"{found['memory_mib_after_start']:.0f}"]] + [
            [f"CPU seconds in {found['idle_seconds']} s, {what} (server, PostgreSQL)",
             f"{found[key]['server']:.2f}, {found[key]['postgres']:.2f}"]
            for what, key in (("empty", "idle_cpu_empty"), ("full", "idle_cpu_full"),
                              ("full, after a start", "idle_cpu_after_start"))])


def _growth(found):
    if not found:
        return []
    return _table("By the size of objects", ["bytes", "objects", "C-STORE MB/s", "ack p50 ms", "server CPU us/object", "upload MB/s"],
                  [[f"{row['object_bytes']}", f"{row['objects']}", f"{row['cstore_mb_s']:.0f}", f"{row['ack_p50_ms']:.2f}",
                    f"{row['cstore_cpu_us']:.0f}", f"{row['upload_mb_s']:.0f}"] for row in found["sizes"]]) + _table(
                        "By the number of objects in a session", ["objects", "build ms", "archive ms", "of it PostgreSQL ms", "archive us/object"],
                        [[f"{row['objects']}", f"{row['build_seconds'] * 1e3:.1f}", f"{row['archive_seconds'] * 1e3:.0f}",
                          f"{row['database_seconds'] * 1e3:.1f}", f"{row['archive_seconds'] / row['objects'] * 1e6:.0f}"] for row in found["sessions"]])
