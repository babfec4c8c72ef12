"""The steps that are measured. Each gives rows: one measurement of one server (or command) in one round."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import accounting
import peers
import servers

# (name, associations); None: DCMTK's storescu, which has one.
STORE_CLIENTS = [("storescu", None), ("sender x1", 1), ("sender x4", 4)]
# DCMTK as it comes waits 40 ms for each answer (Nagle's algorithm); so few objects show it.
UNTUNED = "storescu untuned"
UNTUNED_OBJECTS = 60
# What the archive is compared with: nothing set, and the Basic Profile as the project's.
PROFILES = ("", "basic")


class Bench:
    def __init__(self, programs, work):
        self.programs, self.work = programs, work
        self.log = work / "client.log"
        self.past = []

    def folder(self, name):
        """A new one; it stays until clear().

        ext4 without journal does not use the inode of a deleted file again for a while, and has to look at each of them to find
        a free one: whoever creates files would pay for the one who was measured before him.
        """
        path = self.work / f"{name}-{len(self.past)}"
        self.past.append(path)
        return path

    def clear(self):
        """Between rounds: removes what was measured."""
        for path in self.past:
            shutil.rmtree(path, ignore_errors=True)
        self.past = []
        self.sync()

    @contextlib.contextmanager
    def running(self, make):
        """A server with an empty folder."""
        folder = self.folder("server")
        folder.mkdir(mode=0o755)
        server = make(self.programs, folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            subprocess.run(["sync", "-f", self.work], check=True)

    # Sync is over when what was answered is on the disk: nothing to do for a server that syncs before it answers.
    def sync(self):
        begin = time.monotonic()
        subprocess.run(["sync", "-f", self.work], check=True)
        return time.monotonic() - begin

    def row(self, step, data, number, who, client, work, server=None):
        """Runs `work`, which returns (Finished, more columns), and makes a row of it."""
        before = accounting.snapshot(server.pid) if server else accounting.Snapshot()
        finished, more = work()
        after = accounting.snapshot(server.pid) if server else accounting.Snapshot()
        synced = self.sync()
        used, postgres = after.server.minus(before.server), after.postgres.minus(before.postgres)
        row = {
            "step": step, "data": data.name, "round": number, "server": who, "client": client,
            "objects": data.objects, "bytes": data.size_bytes, "seconds": finished.seconds, "sync_seconds": synced,
            "client_user": finished.user, "client_system": finished.system, "client_peak": finished.peak_bytes,
            "server_user": used.user, "server_system": used.system,
            "postgres_user": postgres.user, "postgres_system": postgres.system,
            "written_bytes": used.written_bytes, "postgres_written_bytes": postgres.written_bytes,
            "server_peak": accounting.peak_memory_bytes(server.pid) if server else 0, **more}
        row["seconds_durable"] = row["seconds"] + row["sync_seconds"]
        print(f"{data.name} {step} {client} -> {who} round {number}: {data.objects / row['seconds']:.0f}/s "
              f"{data.size_bytes / row['seconds'] / 1e6:.0f} MB/s, synced {synced:.2f} s later", file=sys.stderr)
        return row

    # --- C-STORE ---

    def store(self, data, compared, number):
        """Every client against every server, the servers in turn."""
        rows = []
        for client, associations in STORE_CLIENTS:
            for name in compared:
                with self.running(peers.STORE_SERVERS[name]) as server:
                    rows.append(self.row("C-STORE", data, number, name, client,
                                         lambda: self.send(server, data, associations), server))
                    stored = server.stored()
                    if stored is not None and stored != data.objects:
                        raise RuntimeError(f"{name} has {stored} objects of {data.objects}")
        return rows

    def send(self, server, data, associations):
        if associations is None:
            return self.storescu(server, data), {}
        finished = accounting.run([self.programs.sender, data.folder, "--port", server.port, "--called",
                                   server.ae_title, "--associations", associations], self.log)
        answer = json.loads(finished.output)
        if answer["refused"]:
            raise RuntimeError(f"{server.name} refused {answer['refused']} objects")
        # Reading the files first is not part of it.
        finished.seconds, finished.user, finished.system = answer["seconds"], answer["cpu_user"], answer["cpu_system"]
        return finished, {key: answer[key] for key in ("ack_p50_ms", "ack_p99_ms", "ack_max_ms")}

    def storescu(self, server, data):
        return accounting.run(["storescu", "-aec", server.ae_title, "-pdu", "131072", "+sd", "+r", "127.0.0.1",
                               server.port, data.folder], self.log, servers.DCMTK_ENVIRONMENT)

    def untuned(self, data, compared, number):
        """A few objects by a storescu as it comes to receivers as they come."""
        part = data.part(UNTUNED_OBJECTS)
        rows = []
        for name in compared:
            if name == "receiver":
                continue  # it is no product
            with self.running(lambda programs, folder: peers.STORE_SERVERS[name](programs, folder, tuned=False)) as server:
                command = ["storescu", "-aec", server.ae_title, "127.0.0.1", server.port, *part.files]
                rows.append(self.row("C-STORE", part, number, name, UNTUNED,
                                     lambda: (accounting.run(command, self.log, {"TCP_NODELAY": "0"}), {}), server))
        return rows

    # --- upload, build, archive ---

    def http(self, data, number):
        """Orthanc's own way of uploading, for the comparison with ours."""
        with self.running(peers.Orthanc) as server:
            return [self.row("upload", data, number, "Orthanc HTTP x4", "narthex upload",
                             lambda: (server.post(data.files), {}), server)]

    def upload(self, data, number, profile=""):
        rows = [self.copy(data, number), self.copy_cold(data, number)]
        with self.running(servers.Sink) as sink:
            rows.append(self.row("upload", data, number, "sink", "narthex upload",
                                 lambda: (self.narthex_upload(sink, data), {}), sink))
        with self.running(servers.Narthexd) as server:
            if profile:
                server.server.narthex("anon", "enable", "--project", "BENCH", "--profile", profile)
            uploaded = {}

            def send():
                finished = self.narthex_upload(server, data)
                uploaded.update(json.loads(finished.output)["upload"])
                return finished, {}

            rows.append(self.row("upload", data, number, "narthexd", "narthex upload", send, server))
            if server.stored() != data.objects:
                raise RuntimeError(f"narthexd has {server.stored()} objects of {data.objects}")
            rows += self.finish(server, data, number, uploaded["name"])
        if profile:
            # The copies of this very time, too.
            return [{**row, "step": f"{row['step']}, {profile} profile" if row["step"] == "archive" else row["step"]}
                    for row in rows if row["step"] in ("archive", "copy", "copy, cold")]
        return rows

    def narthex_upload(self, server, data):
        return self.narthex_upload_of(server, data.folder)

    def narthex_upload_of(self, server, folder):
        return accounting.run([self.programs.narthex, "--output", "json", "upload", folder, "--project", "BENCH",
                               "--no-commit"], self.log, server.environment)

    def finish(self, server, data, number, upload):
        """Builds the sessions of an upload, and archives them side by side."""
        sessions = []

        def build():
            finished, answer = self.timed(server, "commit", upload)
            sessions.extend(answer["sessions"])
            return finished, {"commit_seconds": answer["commit_seconds"]}

        rows = [self.row("build", data, number, "narthexd", "CommitUpload", build, server)]
        rows.append(self.row("archive", data, number, "narthexd", "ArchivePrearchiveSession",
                             lambda: (self.timed(server, "archive", *sessions)[0], {}), server))
        return rows

    def timed(self, server, *what):
        finished = accounting.run([self.programs.session, *what], self.log, server.environment)
        answer = json.loads(finished.output)
        finished.seconds = answer["seconds"]
        return finished, answer

    def copy(self, data, number):
        """What any upload and any archive is compared with: a plain copy, synced."""
        return self._copy("copy", data, data.folder, number)

    def copy_cold(self, data, number):
        """The same of the copy, read from the disk as an archive reads what was staged."""
        source = self.past[-1]
        for path in filter(Path.is_file, source.rglob("*")):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return self._copy("copy, cold", data, source, number)

    def _copy(self, step, data, source, number):
        target = self.folder("copy")
        return self.row(step, data, number, "cp -r", "cp -r",
                        lambda: (accounting.run(["cp", "-r", source, target], self.log), {}))
