#!/usr/bin/env python3
"""CPU of de-identifying one CT object many times: our libraries beside DCMTK's dcmodify and Orthanc, in turn, in one run.

  tools/bench/anonymization.py --object FILE [--copies 300] [--rounds 5] [--bin DIR]

Prints a Markdown table of CPU times (user and system, microseconds an object, medians of the rounds) that say what
each program spends in all, and beyond its own reading and writing. Not the elapsed time: that depends on who else works on
the machine. Needs narthex-deid-proof (release), dcmtk; Orthanc where it is installed.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")

# What of the basic profile dcmodify can do in one call: new UIDs, private attributes away, and the identifying
# attributes that the object has erased or emptied. It maps no UIDs alike over a study and reaches into no sequences.
ERASED = ("0008,0080 0008,0081 0008,1010 0008,1030 0008,103e 0008,1040 0008,1048 0008,1060 0008,1070 0008,1090 0010,1000 "
          "0010,1010 0010,1020 0010,1030 0010,2180 0010,21b0 0010,4000 0018,1000 0018,1030 0020,4000 0040,0244 0040,0245 "
          "0040,0253 0040,0254 0032,1060").split()
EMPTIED = "0008,0020 0008,0030 0008,0050 0008,0090 0010,0010 0010,0020 0010,0030 0010,0040 0020,0010".split()


def cpu_of(command, given=None):
    """Seconds of user and system time of a process."""
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if given:
        process.stdin.write(given.encode())
        process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


class Files:
    def __init__(self, original, copies, folder):
        self.original, self.copies, self.folder = original, copies, folder

    def fresh(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        paths = [self.folder / f"{i:04}.dcm" for i in range(self.copies)]
        for path in paths:
            shutil.copyfile(self.original, path)
        return paths


def ours(flags, files, arguments):
    paths = files.fresh()
    listed = "".join(f"{path}\t{path}.out\n" for path in paths)
    return cpu_of([flags.bin / "narthex-deid-proof", *arguments], listed)


def dcmodify(files):
    edits = ["-nb", "-imt", "-gst", "-gse", "-gin", "-ep"]
    for tag in ERASED:
        edits += ["-ea", f"({tag})"]
    for tag in EMPTIED:
        edits += ["-m", f"({tag})="]
    return cpu_of(["dcmodify", *edits, *files.fresh()])


def dcmodify_nothing(files):
    return cpu_of(["dcmodify", "-nb", "-imt", "-m", "(0010,0010)=X", *files.fresh()])


class Orthanc:
    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        store = str(folder / "orthanc")
        (folder / "orthanc.json").write_text(json.dumps({
            "StorageDirectory": store, "IndexDirectory": store, "HttpPort": self.port, "DicomServerEnabled": False,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "Plugins": []}))
        program = shutil.which("Orthanc", path=os.environ["PATH"] + ":/usr/sbin")
        self.process = subprocess.Popen([program, folder / "orthanc.json"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                self.request("/system")
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("Orthanc does not start")

    def request(self, path, data=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def spent(self, path, data, copies):
        before = self.cpu()
        for _ in range(copies):
            self.request(path, data)
        return self.cpu() - before

    def close(self):
        self.process.terminate()
        self.process.wait()


def measure(flags, folder):
    files = Files(flags.object, flags.copies, folder / "files")
    script = folder / "site.das"
    script.write_text('version "6.1"\nproject != "Unassigned" ? (0008,1030) := project\n(0010,0010) := subject\n'
                      "(0010,0020) := session\n")
    orthanc = Orthanc(folder) if shutil.which("Orthanc", path=os.environ["PATH"] + ":/usr/sbin") else None
    rounds = []
    try:
        if orthanc:
            instance = json.loads(orthanc.request("/instances", flags.object.read_bytes()))["ID"]
        order = b'{"DicomVersion": "2021b", "Force": true}'
        for _ in range(flags.rounds):
            spent = {
                "ours: read and write": ours(flags, files, []),
                "ours: default site script": ours(flags, files, ["--script", script]),
                "ours: basic profile": ours(flags, files, ["--profile", "basic"]),
                "dcmodify: one attribute": dcmodify_nothing(files),
                "dcmodify: what it can of the profile": dcmodify(files),
            }
            if orthanc:
                spent["Orthanc: read and write (HTTP)"] = orthanc.spent(f"/instances/{instance}/file", None, flags.copies)
                spent["Orthanc: basic profile (HTTP)"] = orthanc.spent(f"/instances/{instance}/anonymize", order,
                                                                       flags.copies)
            rounds.append(spent)
    finally:
        if orthanc:
            orthanc.close()
    return {name: statistics.median(spent[name] for spent in rounds) / flags.copies * 1e6 for name in rounds[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="narthex-anon-bench-") as folder:
        medians = measure(flags, Path(folder))
    print(f"{flags.object.stat().st_size} bytes, {flags.copies} copies, medians of {flags.rounds} rounds\n")
    print("| program | CPU us/object | beyond its first row |\n|---|--:|--:|")
    base = 0.0
    group = ""
    for name, value in medians.items():
        if name.split(":")[0] != group:
            group, base = name.split(":")[0], value
        print(f"| {name} | {value:.0f} | {value - base:.0f} |")


if __name__ == "__main__":
    main()
