#!/usr/bin/python3
"""Draws how cost grows, from the results of `tools/bench/run --only studies,waiting,growth`, as PNG for docs/benchmarks.md.

    tools/bench/plot.py build/bench/results.json docs/benchmarks

Needs python3-matplotlib.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

OURS, BESIDE = "#1f6f8b", "#c0562f"


def chart(path, title, x_label, y_label, lines, log=""):
    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=110)
    for (label, x, y), color in zip(lines, (OURS, BESIDE)):
        axes.plot(x, y, marker="o", markersize=3.5, linewidth=1.6, color=color, label=label)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def column(rows, key, factor=1.0):
    return [row[key] * factor for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    flags = parser.parse_args()
    results = json.loads(flags.results.read_text())
    flags.folder.mkdir(parents=True, exist_ok=True)
    if "studies" in results:
        rows = results["studies"]["batches"]
        chart(flags.folder / "studies.png", "C-STORE of many studies, built and archived meanwhile", "studies so far", "objects/s",
              [("rate of each hundred studies", column(rows, "studies"), column(rows, "objects_per_second"))])
    if "waiting" in results:
        rows = results["waiting"]["batches"]
        chart(flags.folder / "waiting.png", "C-STORE of sessions of one object, four associations", "sessions that wait",
              "objects/s", [("objects/s", column(rows, "sessions"), column(rows, "objects_per_second"))])
    if "growth" in results:
        rows = results["growth"]["sizes"]
        x = column(rows, "object_bytes", 1e-3)
        chart(flags.folder / "sizes.png", "One association, one upload, by the size of objects", "kB of an object", "MB/s",
              [("C-STORE", x, column(rows, "cstore_mb_s")), ("upload", x, column(rows, "upload_mb_s"))], "xy")
        rows = results["growth"]["sessions"]
        x = column(rows, "objects")
        chart(flags.folder / "sessions.png", "Build and archive of one session, by its objects", "objects of 39 kB", "ms",
              [("build", x, column(rows, "build_seconds", 1e3)), ("archive", x, column(rows, "archive_seconds", 1e3))], "xy")


if __name__ == "__main__":
    main()
