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


def markdown(facts, rows, kept):
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    for data, of_data in _groups(rows, lambda row: row["data"]).items():
        first = of_data[0]
        lines += ["", f"## {data.upper()}: {first['objects']} objects of {first['bytes'] / first['objects'] / 1e3:.0f} kB"]
        copies = [row for row in of_data if row["step"] == "copy"]
        for (step, client), of_step in _groups(of_data, lambda row: (row["step"], row["client"])).items():
            if step == "copy":
                continue
            by_name = _groups(of_step, lambda row: row["server"])
            if copies and step in ("upload", "archive"):
                by_name["cp -r, then sync"] = copies
            lines += _section(f"{step}, {client}", by_name)
    if kept:
        lines += ["", "## Memory of the server", "", "| | idle MiB | peak MiB | client's peak MiB | seconds |",
                  "|---|---|---|---|---|"]
        lines += [f"| {one['what']} | {one['idle'] >> 20} | {one['peak'] >> 20} | {one['client_peak'] >> 20} | "
                  f"{one['seconds']:.1f} |" for one in kept]
    return "\n".join(lines) + "\n"
