"""What was measured where: numbers without it mean nothing."""

import datetime
import os
import platform
import subprocess


def _first(path, key):
    with open(path, encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), "unknown")


def _output(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _version(program):
    first = _output(program, "--version").splitlines()[:1]
    return first[0].strip("$ ") if first else "not installed"


def facts(root, work_dir, arguments, rounds):
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", cwd=root)
    return {
        "command": " ".join(["tools/bench/run", *arguments]),
        "commit": _output("git", "rev-parse", "--short", "HEAD", cwd=root) + (" with changes" if changed else ""),
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "cpu": f"{os.cpu_count()} x {_first('/proc/cpuinfo', 'model name')}",
        "memory": _first("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "disk": " ".join(_output("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", str(work_dir)).split()),
        "load": "%.1f runnable on average in the minute before the end (the measurement itself takes part)" % os.getloadavg()[0],
        "dcmtk": _version("storescp"),
        "orthanc": _version("Orthanc"),
    }
