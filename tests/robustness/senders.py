"""Senders that write down every acknowledgement the moment they see it: the outside record of the crash tests."""

import hashlib
import os
import pathlib
import random
import subprocess
import threading
import time

import grpc
import pydicom

import api
from harness import BIN, phantom

STORED, DUPLICATE = 1, 2


def data_set(data):
    """The bytes behind the meta group of a Part 10 file: what DICOM carries."""
    return data[144 + int.from_bytes(data[140:144], "little"):]


class Study:
    """What somebody wants to be archived, and what the server has said about it so far."""

    def __init__(self, root, door, label, rng):
        self.door = door  # grpc, dicom, cli, or auto: by gRPC into a project that archives by itself
        self.project = "AUTO" if door == "auto" else "P1"
        self.label = label
        self.folder = pathlib.Path(root) / label
        files = phantom(self.folder, modality=rng.choice(["MR", "CT"]), series=rng.randint(1, 3),
                        slices=rng.randint(4, 16), size=rng.choice([32, 64, 128, 256]), project=self.project, session=label,
                        subject=f"{label}_S", seed=rng.randrange(1 << 30))
        self.files = []
        for path in files:
            data = path.read_bytes()
            self.files.append((path, pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID,
                               hashlib.sha256(data).hexdigest(), hashlib.sha256(data_set(data)).hexdigest()))
        self.acknowledged = {}  # SOP Instance UID -> index into files
        self.lock = threading.Lock()

    def acknowledge(self, index):
        with self.lock:
            self.acknowledged[self.files[index][1]] = index

    def complete(self):
        with self.lock:
            return len(self.acknowledged) == len(self.files)

    def missing(self):
        with self.lock:
            return [index for index, file in enumerate(self.files) if file[1] not in self.acknowledged]


def send_grpc(server, study, rng, problems):
    """Sends what lacks an acknowledgement by the Upload stream, in packs and chunks; commits if all came through."""
    pb = api.module("upload_service")
    client = api.Api(server)
    seed = rng.randrange(1 << 30)
    indices = study.missing()

    def requests():
        order = random.Random(seed)
        resources = api.module("resources")
        yield pb.UploadRequest(open=pb.UploadOpen(destination=resources.Destination(project=study.project),
                                                  digest_algorithm=2))
        for index in indices:
            data = study.files[index][0].read_bytes()
            digest = hashlib.sha256(data).digest()
            if order.random() < 0.7:
                yield pb.UploadRequest(pack=pb.ObjectPack(objects=[
                    pb.WholeObject(sequence=index, data=data, digest=digest)]))
                continue
            cut = order.randrange(1, len(data))
            for offset, piece in ((0, data[:cut]), (cut, data[cut:])):
                last = offset > 0
                yield pb.UploadRequest(chunk=pb.ObjectChunk(
                    sequence=index, offset=offset, data=piece, crc32c=api.crc32c(piece), last=last,
                    size_bytes=len(data) if last else 0, digest=digest if last else b""))
            time.sleep(order.random() * 0.01)

    upload = None
    try:
        for response in client.stream("UploadService", "Upload", requests()):
            if response.HasField("opened"):
                upload = response.opened.name
            for outcome in response.outcomes:
                if outcome.outcome in (STORED, DUPLICATE):
                    study.acknowledge(outcome.sequence)
                else:
                    problems.append(f"{study.label}: {outcome}")
        client.call("UploadService", "CommitUpload", name=upload, expected_count=len(indices))
    except grpc.RpcError as error:
        # Killed under way: whatever has no outcome was not acknowledged.
        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
            problems.append(f"{study.label}: {error.code()} {error.details()}")
    finally:
        client.close()


def send_dicom(server, study, rng, problems):
    """Sends with storescu and reads from its report which files got a status of success."""
    paths = {str(study.files[index][0]): index for index in study.missing()}
    process = subprocess.Popen(["storescu", "-v", "-aec", "NARTHEX", server.dicom_host, server.dicom_port, *paths],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sending = None
    for line in process.stdout:
        if line.startswith("I: Sending file: "):
            sending = paths[line.removeprefix("I: Sending file: ").strip()]
        elif line.startswith("I: Received Store Response"):
            if "(Success)" in line:
                study.acknowledge(sending)
            else:
                problems.append(f"{study.label}: {line.strip()}")
    process.stdout.close()
    process.wait()


class CliUpload:
    """`narthex upload --archive`: its own word is taken only when it ended by itself and said that all went well."""

    def __init__(self, server, study):
        self.study = study
        environment = dict(os.environ, NARTHEX_SERVER=server.address, NARTHEX_TOKEN=server.token)
        self.process = subprocess.Popen([BIN / "narthex", "--output", "json", "upload", study.folder, "--project", "P1",
                                         "--archive"], env=environment, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)

    def wait(self, stop):
        while self.process.poll() is None and not stop.is_set():
            time.sleep(0.02)
        if self.process.poll() is None:
            self.process.kill()
        self.error = self.process.communicate()[1]
        if self.process.returncode == 0:
            for index in range(len(self.study.files)):
                self.study.acknowledge(index)
