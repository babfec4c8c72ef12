"""The demonstration behind `./dev run`: two made-up studies from a sender to the archive.

A server of its own is started on free ports; one study comes over DICOM (storescu), one through `narthex upload`.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

PROJECT = "DEMO"
START_SECONDS = 120  # the first start initialises a PostgreSQL cluster
STEP_SECONDS = 120  # building or archiving a small study takes well below a second


class DemoError(Exception):
    """Something did not work; the text says what and where to look."""


@dataclass
class Study:
    label: str
    modality: str
    way: str  # how it travels, for the table
    folder: Path
    object_count: int = 0
    send_seconds: float = 0.0
    archive_seconds: float = 0.0  # from the end of sending to the session in the archive

    @property
    def ref(self) -> str:
        return f"{PROJECT}/{self.label}"


class Server:
    """A running narthexd."""

    def __init__(self, programs: Path, data: Path):
        self.programs, self.data, self.log = programs, data, data / "narthexd.log"
        ready = data / "ready.json"
        ready.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C is for us, who then stop the server in order.
            self.process = subprocess.Popen(
                [programs / "narthexd", "--data-dir", data, "--ready-file", ready,
                 "--grpc-listen", "127.0.0.1:0", "--dicom-listen", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for("the server to start", START_SECONDS, lambda: self.check_alive() or ready.exists())
            self.addresses = json.loads(ready.read_text(encoding="utf-8"))
        except BaseException:
            self.stop()
            raise

    def check_alive(self):
        if self.process.poll() is not None:
            tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            raise DemoError(f"narthexd ended with exit code {self.process.returncode}:\n  " + "\n  ".join(tail))

    def narthex(self, *arguments, check=True):
        """What `narthex ... --output json` answered; None if it said no and `check` is false."""
        command = [self.programs / "narthex", "--server", self.addresses["grpc"], "--token-file",
                   self.addresses["token_file"], "--output", "json", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_SECONDS)
        if done.returncode == 0:
            # Commands that stream print one document a line; the first is enough for us.
            return json.JSONDecoder().raw_decode(done.stdout.lstrip() or "{}")[0]
        self.check_alive()
        if check:
            raise DemoError(f"narthex {' '.join(map(str, arguments))}: exit code {done.returncode}\n"
                            f"{done.stdout}{done.stderr}")
        return None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def say(text: str):
    print(f"-- {text}", file=sys.stderr, flush=True)


def wait_for(what: str, seconds: float, attempt):
    """The first true answer of `attempt`."""
    end = time.monotonic() + seconds
    while not (answer := attempt()):
        if time.monotonic() > end:
            raise DemoError(f"waited {seconds} s for {what}")
        time.sleep(0.05)
    return answer


def run(command: list):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def make_study(server: Server, study: Study, series: int, slices: int, size: int):
    shutil.rmtree(study.folder, ignore_errors=True)
    run([server.programs / "narthex-phantom", study.folder, "--modality", study.modality, "--series", series,
         "--slices", slices, "--size", size, "--project", PROJECT, "--subject", "phantom",
         "--session", study.label, "--seed", zlib.crc32(study.label.encode())])
    study.object_count = sum(path.is_file() for path in study.folder.rglob("*"))
    say(f"made {study.label}: {study.object_count} {study.modality} images")


def prearchived(server: Server, label: str):
    """The prearchive session of that label, or None."""
    answer = server.narthex("prearchive", "list", "--project", PROJECT)
    return next((s for s in answer.get("prearchiveSessions", []) if s.get("label") == label), None)


def archived(server: Server, study: Study):
    """The session in the archive; None while it is not there."""
    if waiting := prearchived(server, study.label):
        if waiting["state"] in ("ERROR", "CONFLICT"):
            raise DemoError(f"{study.label} is in state {waiting['state']}: {json.dumps(waiting, indent=2)}")
        return None
    return server.narthex("session", "show", study.ref, check=False)


def push_over_dicom(server: Server, study: Study):
    host, port = server.addresses["dicom"].rsplit(":", 1)
    run(["storescu", "-aet", "PHANTOM", "-aec", "NARTHEX", "+sd", "+r", host, port, study.folder])


def build_and_archive(server: Server, study: Study):
    """What a person does with a session that came over DICOM, without waiting for the idle timer."""
    waiting = wait_for(f"{study.label} in the prearchive", STEP_SECONDS, lambda: prearchived(server, study.label))
    name = waiting["name"].split("/")[-1]
    server.narthex("prearchive", "build", name)
    wait_for(f"{study.label} to be built", STEP_SECONDS,
             lambda: (prearchived(server, study.label) or waiting)["state"] not in ("RECEIVING", "BUILDING"))
    server.narthex("prearchive", "archive", name)


def travel(server: Server, study: Study):
    """Sends one study and waits until it is archived, entirely."""
    start = time.monotonic()
    if study.way == "DICOM push":
        push_over_dicom(server, study)
    else:
        server.narthex("upload", study.folder, "--project", PROJECT, "--archive")
    sent = time.monotonic()
    study.send_seconds = sent - start
    say(f"sent {study.label} by {study.way}")
    if study.way == "DICOM push":
        build_and_archive(server, study)
    session = wait_for(f"{study.label} in the archive", STEP_SECONDS, lambda: archived(server, study))
    study.archive_seconds = time.monotonic() - sent
    say(f"archived {study.label} as {session['accessionId']}")
    return session


def print_table(studies: list[Study], sessions: list[dict]):
    rows = [("session", "accession", "came by", "scans", "objects", "size", "sent in", "archived in")]
    for study, session in zip(studies, sessions):
        megabytes = int(session.get("sizeBytes", 0)) / 1e6
        rows.append((study.ref, session["accessionId"], study.way, str(session.get("scanCount", 0)),
                     f"{session.get('fileCount', 0)} of {study.object_count}", f"{megabytes:.1f} MB",
                     f"{study.send_seconds:.2f} s", f"{study.archive_seconds:.2f} s"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print()
    for number, row in enumerate(rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def print_further(server: Server, studies: list[Study]):
    host, port = server.addresses["dicom"].rsplit(":", 1)
    print(f"""
To look further, in another terminal:

  export PATH="{server.programs}:$PATH" NARTHEX_SERVER={server.addresses['grpc']} \\
         NARTHEX_TOKEN="$(cat {server.addresses['token_file']})"
  narthex session search
  narthex session scans {studies[0].ref}
  narthex session download {studies[0].ref} -o {studies[0].label}.zip --verify
  narthex prearchive watch
  narthex upload {studies[1].folder} --project {PROJECT} --subject other --session again --commit
  storescu -aec NARTHEX +sd +r {host} {port} {studies[0].folder}

The files lie in XNAT's layout below {server.data}/archive; the server's log is {server.log}.""")


def demonstrate(server: Server) -> list[Study]:
    if server.narthex("project", "show", PROJECT, check=False) is None:
        server.narthex("project", "create", PROJECT)
    stamp = time.strftime("%Y%m%d_%H%M%S")  # a kept data directory sees many demonstrations
    made = server.data / "made-up"
    studies = [Study(f"MR_{stamp}", "MR", "DICOM push", made / f"MR_{stamp}"),
               Study(f"CT_{stamp}", "CT", "narthex upload", made / f"CT_{stamp}")]
    make_study(server, studies[0], series=3, slices=24, size=256)
    make_study(server, studies[1], series=2, slices=32, size=512)
    sessions = [travel(server, study) for study in studies]
    print_table(studies, sessions)
    for study, session in zip(studies, sessions):
        if int(session.get("fileCount", 0)) != study.object_count:
            raise DemoError(f"{study.ref}: {study.object_count} objects sent, {session.get('fileCount')} archived")
    return studies


def serve(server: Server):
    print("\nServing until Ctrl-C.", flush=True)
    while True:
        server.check_alive()
        time.sleep(0.5)


def data_folder(wanted: str | None) -> tuple[Path, bool]:
    """The data directory, and whether to remove it at the end."""
    if wanted:
        Path(wanted).mkdir(parents=True, exist_ok=True)
        return Path(wanted), False
    folder = Path(tempfile.mkdtemp(prefix="narthex-run-"))
    folder.chmod(0o711)  # started by root, PostgreSQL runs as another user, who must get to its folder below
    return folder, True


def on_terminate(signal_number, frame):
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, on_terminate)
    data, temporary = data_folder(options.data_dir)
    server = None
    try:
        say(f"starting narthexd in {data}")
        server = Server(options.bin, data)
        say(f"serving gRPC on {server.addresses['grpc']} and DICOM on {server.addresses['dicom']}")
        studies = demonstrate(server)
        if not options.once:
            print_further(server, studies)
            serve(server)
        return 0
    except KeyboardInterrupt:
        say("stopping")
        return 1 if options.once else 0
    except (DemoError, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        print(f"./dev run: {error}\nWhat there is to look at was left in {data}", file=sys.stderr)
        temporary = False
        return 1
    finally:
        if server:
            server.stop()
        if temporary:
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
