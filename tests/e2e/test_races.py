"""Objects that arrive while their session is built, archived, moved or deleted, through both doors: each time the server is
held at the place (or driven past it again and again), and each outcome is the one that docs/states.md says. Whatever was
acknowledged is in the archive at the end, byte for byte."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import dimse
from harness import BIN, Server, needs_shared, phantom, sha256, shared_folder

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
DOORS = ("DICOM", "GRPC")
CHUNK = 1 << 20


def data_set(path):
    """The bytes behind the meta group of a Part 10 file: what DICOM carries."""
    data = pathlib.Path(path).read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little"):]


def instance_of(path):
    import pydicom
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


class Hold:
    """The next thread of the server that gets to the place waits there until the end of the block."""

    def __init__(self, server, place):
        self.server = server
        self.file = pathlib.Path(server.environment["NARTHEX_PAUSE_POINTS"]) / place
        self.reached_file = self.file.with_name(place + ".reached")

    def __enter__(self):
        self.reached_file.unlink(missing_ok=True)
        self.file.touch()
        return self

    def reached(self):
        self.server.wait_for(self.reached_file.exists, f"the server at {self.file.name}")

    def __exit__(self, *unused):
        self.file.unlink()


@needs_shared
class Races(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.server = Server()
        cls.server.environment["NARTHEX_PAUSE_POINTS"] = tempfile.mkdtemp(dir=cls.temporary.name)
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in (*DOORS, "ELSEWHERE"):
            cls.server.narthex("project", "create", project)
        cls.real = shared_folder() / "data/dicom-mr-ge-mr750"

    def images(self, door, label, *series):
        """Real images that are routed to the door's project and this label by their comments."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        files = [pathlib.Path(shutil.copy(path, folder / f"{name}_{path.name}"))
                 for name in series for path in sorted((self.real / name).glob("*.dcm"))]
        subprocess.run(["dcmodify", "-nb", "-i", f"PatientComments=Project:{door} Subject:S Session:{label}", *files],
                       check=True, capture_output=True)
        return files

    def send(self, door, files):
        """All of them, again and again until each was taken, as senders do."""
        waiting = list(files)
        for _ in range(20):
            if door == "GRPC":
                answer = self.server.narthex("upload", *waiting, "--no-commit", code=None)
                waiting = [pathlib.Path(o["path"]) for o in answer["outcomes"] if o["outcome"] == "REJECTED"]
                self.assertLessEqual({o["reason"] for o in answer["outcomes"] if o["outcome"] == "REJECTED"}, {"SESSION_BUSY"})
            else:
                result = self.server.storescu("-v", "-nh", "--to", *waiting, code=None)
                said = re.findall(r"Sending file: (.*)\n(?:.*\n)*?.*Received Store Response \((.*)\)", result.stdout + result.stderr)
                taken = {name for name, status in said if status == "Success"}
                waiting = [path for path in waiting if str(path) not in taken]
            if not waiting:
                return
        self.fail(f"never taken: {waiting[:3]}")

    def rows(self, label):
        """The sessions of the label that wait, the oldest first."""
        return [row for row in reversed(self.server.prearchive()) if row["label"] == label]

    def show(self, name):
        return self.server.narthex("prearchive", "show", name)

    def start(self, *arguments):
        """Runs a command that the server is held in."""
        result = []
        thread = threading.Thread(target=lambda: result.append(self.server.run(*arguments)))
        thread.start()

        def end():
            thread.join()
            self.assertEqual(result[0].returncode, 0, result[0].stdout + result[0].stderr)
        return end

    def archive_rest(self, label):
        for row in self.rows(label):
            if row["state"] == "RECEIVING":
                self.server.narthex("prearchive", "build", row["name"])
            self.server.narthex("prearchive", "archive", row["name"], "--conflict", "append")
        self.assertEqual(self.rows(label), [])

    def check_archived(self, door, label, files, project=None):
        """The archive has these objects, no others, and their bytes."""
        digest = sha256 if door == "GRPC" else data_set
        sent = {instance_of(path): digest(path) for path in files}
        with tempfile.TemporaryDirectory() as folder:
            self.server.narthex("session", "download", f"{project or door}/{label}", "-o", folder, "--verify")
            self.assertEqual({instance_of(path): digest(path) for path in pathlib.Path(folder).rglob("*.dcm")}, sent)

    def test_during_a_build_it_joins_and_the_build_is_not_the_last(self):
        for door in DOORS:
            with self.subTest(door):
                first, late = self.images(door, "BUILD", "mr_0004"), self.images(door, "BUILD", "mr_0005")
                self.send(door, first)
                name = self.rows("BUILD")[0]["name"]
                with Hold(self.server, "build.begun") as hold:
                    built = self.start("prearchive", "build", name)
                    hold.reached()
                    self.send(door, late)
                    during = self.show(name)
                built()

                self.assertEqual((during["state"], during["objectCount"]), ("BUILDING", len(first + late)))
                after = self.show(name)
                self.assertEqual((after["state"], after["awaitedSignal"]), ("RECEIVING", "idle"))
                self.assertEqual([row["name"] for row in self.rows("BUILD")], [name])
                self.archive_rest("BUILD")
                self.check_archived(door, "BUILD", first + late)

    def test_during_an_archive_the_whole_study_again_opens_another_session(self):
        for door in DOORS:
            with self.subTest(door):
                first, late = self.images(door, "ARCHIVE", "mr_0004"), self.images(door, "ARCHIVE", "mr_0005")
                self.send(door, first)
                name = self.rows("ARCHIVE")[0]["name"]
                self.server.narthex("prearchive", "build", name)
                with Hold(self.server, "archive.files_written") as hold:
                    archived = self.start("prearchive", "archive", name)
                    hold.reached()
                    self.send(door, first + late)
                    rows = self.rows("ARCHIVE")
                archived()

                self.assertEqual([(row["state"], row["objectCount"]) for row in rows],
                                 [("ARCHIVING", len(first)), ("RECEIVING", len(first + late))])
                self.assertEqual(rows[1]["outcomeCounts"], {"STORED": len(first + late)})
                self.check_archived(door, "ARCHIVE", first)
                other = rows[1]["name"]
                self.server.narthex("prearchive", "build", other)
                self.assertIn("ARCHIVE_CONFLICT", self.server.run("prearchive", "archive", other).stdout)
                answer = self.server.narthex("prearchive", "archive", other, "--conflict", "append")
                self.assertEqual((answer["mergeResult"]["addedCount"], answer["mergeResult"]["keptCount"]),
                                 (len(late), len(first)))
                self.check_archived(door, "ARCHIVE", first + late)

    def test_during_a_deletion_it_opens_another_session(self):
        for door in DOORS:
            with self.subTest(door):
                first, late = self.images(door, "DELETE", "mr_0004"), self.images(door, "DELETE", "mr_0005")
                self.send(door, first)
                name = self.rows("DELETE")[0]["name"]
                with Hold(self.server, "delete.begun") as hold:
                    deleted = self.start("prearchive", "delete", name)
                    hold.reached()
                    self.send(door, first[:2] + late)
                    rows = self.rows("DELETE")
                deleted()

                self.assertEqual([(row["state"], row["objectCount"]) for row in rows],
                                 [("DELETING", len(first)), ("RECEIVING", 2 + len(late))])
                self.assertEqual([row["name"] for row in self.rows("DELETE")], [rows[1]["name"]])
                self.archive_rest("DELETE")
                self.check_archived(door, "DELETE", first[:2] + late)

    def test_during_moves_each_object_is_in_exactly_one_session(self):
        """A move is one step, so that nobody can be held within: the session moves as often as it can while objects come."""
        for door in DOORS:
            with self.subTest(door):
                files = self.images(door, "MOVE", "mr_0004", "mr_0005", "mr_0006")
                self.send(door, files[:1])
                sender = threading.Thread(target=self.send, args=(door, files))
                sender.start()
                moves = 0
                while sender.is_alive():
                    for row in self.rows("MOVE"):
                        if row["project"] == door:
                            moves += self.server.run("prearchive", "update", row["name"], "--project",
                                                     "ELSEWHERE").returncode == 0
                sender.join()
                for row in self.rows("MOVE"):
                    if row["project"] == door:
                        self.server.narthex("prearchive", "update", row["name"], "--project", "ELSEWHERE")

                self.assertGreater(moves, 0)
                self.server.check_invariants(self)
                counts = [self.show(row["name"])["outcomeCounts"] for row in self.rows("MOVE")]
                # The first object was sent twice: to the session that moved away, or not.
                self.assertEqual(sum(sum(count.values()) for count in counts), len(files) + 1)
                self.archive_rest("MOVE")
                self.check_archived(door, "MOVE", files, "ELSEWHERE")
                self.server.narthex("session", "delete", "ELSEWHERE/MOVE")

    def large(self, door, label):
        """A real image enlarged, so that its bytes go to its session before the last of them has come."""
        path, = self.images(door, label, "mr_0004")[:1]
        target = path.with_name("large.dcm")
        subprocess.run(["dcmscale", "+Sxv", "2048", path, target], check=True, capture_output=True)
        self.assertGreater(target.stat().st_size, 4 * CHUNK)
        return target

    def built(self, door, label):
        """A session that is READY; its name."""
        self.send(door, self.images(door, label, "mr_0005"))
        name = self.rows(label)[0]["name"]
        self.server.narthex("prearchive", "build", name)
        return name

    def wait_until_it_joins(self, name):
        self.server.wait_for(lambda: self.show(name)["state"] == "RECEIVING", "the object to join its session")

    def test_between_its_first_and_its_last_byte_by_dicom(self):
        path = self.large("DICOM", "HALF")
        data, uid = data_set(path), instance_of(path)
        peer = dimse.requested(self.server.dicom_host, self.server.dicom_port, "NARTHEX", "SCU", MR, EXPLICIT)
        self.addCleanup(peer.close)

        name = self.built("DICOM", "HALF")

        def delete():
            self.wait_until_it_joins(name)
            self.server.narthex("prearchive", "delete", name)

        status = dimse.store(peer, MR, uid, data, delete)
        self.assertEqual(hex(status), "0xa700")  # sending again may help
        self.assertEqual(self.rows("HALF"), [])

        self.assertEqual(dimse.store(peer, MR, uid, data), 0)

        self.archive_rest("HALF")
        self.check_archived("DICOM", "HALF", [path])
        dimse.release(peer)

    def test_between_its_first_and_its_last_byte_by_grpc(self):
        import api
        path = self.large("GRPC", "HALF_G")
        name = self.built("GRPC", "HALF_G")
        pb, client = api.module("upload_service"), api.Api(self.server)
        self.addCleanup(client.close)
        data = path.read_bytes()

        def requests(upload, meanwhile):
            yield pb.UploadRequest(open=pb.UploadOpen(name=upload) if upload else
                                   pb.UploadOpen(destination=api.module("resources").Destination(), digest_algorithm=2))
            for offset in range(0, len(data), CHUNK):
                piece = data[offset:offset + CHUNK]
                last = offset + CHUNK >= len(data)
                if last:
                    meanwhile()
                yield pb.UploadRequest(chunk=pb.ObjectChunk(
                    sequence=0, offset=offset, data=piece, crc32c=api.crc32c(piece), last=last,
                    size_bytes=len(data) if last else 0, digest=hashlib.sha256(data).digest() if last else b""))

        def outcome(upload, meanwhile):
            told, opened = [], ""
            for response in client.stream("UploadService", "Upload", requests(upload, meanwhile)):
                opened = response.opened.name if response.HasField("opened") else opened
                told += response.outcomes
            return opened, told[0]

        def delete():
            # As long as something is on its way, a build is not the last, so that nothing is archived without it.
            self.wait_until_it_joins(name)
            self.server.narthex("prearchive", "build", name)
            refused.append(self.server.narthex("prearchive", "archive", name, code=1)["error"]["reason"])
            self.server.narthex("prearchive", "delete", name)

        refused = []
        upload, told = outcome("", delete)
        self.assertEqual(refused, ["ILLEGAL_STATE"])
        self.assertEqual((told.outcome, told.reason), (6, "SESSION_BUSY"))
        again = outcome(upload, lambda: None)[1]  # under the same number

        self.assertEqual((again.outcome, again.reason), (1, ""))
        self.archive_rest("HALF_G")
        self.check_archived("GRPC", "HALF_G", [path])

    def test_senders_on_many_associations_while_everything_is_built_and_archived(self):
        """One study by three associations and an upload at once, each in an order of its own, then all of it again."""
        for door in DOORS:
            with self.subTest(door):
                files = self.images(door, "MANY", "mr_0004", "mr_0005", "mr_0006", "mr_0007")
                errors = []

                def run(by, part):
                    try:
                        self.send(by, part)
                    except Exception as error:  # the main thread tells
                        errors.append(error)

                parts = [(door, files), (door, files[::-1]), (door, files[::2]), ("DICOM", files[1::2] + files[::2])]
                senders = [threading.Thread(target=run, args=part) for part in parts]
                for sender in senders:
                    sender.start()
                archived = 0
                while any(sender.is_alive() for sender in senders):
                    for row in self.rows("MANY"):
                        self.server.run("prearchive", "build", row["name"])
                        archived += self.server.run("prearchive", "archive", row["name"], "--conflict", "append").returncode == 0
                for sender in senders:
                    sender.join()
                self.assertEqual(errors, [])
                self.server.check_invariants(self)
                self.archive_rest("MANY")
                digests = {f["instanceUid"]: f["sha256"] for f in self.server.files(f"{door}/MANY")}
                self.assertEqual(set(digests), set(map(instance_of, files)))
                self.check_archived("DICOM", "MANY", files, door)  # data sets: the first door may have been either

                self.send(door, files)
                self.archive_rest("MANY")

                self.assertEqual({f["instanceUid"]: f["sha256"] for f in self.server.files(f"{door}/MANY")}, digests)


class ServerGoneAmidBuild(unittest.TestCase):
    def test_an_upload_says_what_became_of_its_objects_all_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            server = Server()
            server.environment["NARTHEX_PAUSE_POINTS"] = folder
            with server:
                server.narthex("project", "create", "P1")
                files = phantom(pathlib.Path(folder) / "study", slices=3, size=32, session="GONE")
                environment = dict(os.environ, NARTHEX_SERVER=server.address, NARTHEX_TOKEN=server.token)
                with Hold(server, "build.begun") as hold:
                    upload = subprocess.Popen([BIN / "narthex", "--output", "json", "upload", *files, "--project", "P1", "--archive"],
                                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    hold.reached()
                    server.kill()
                out, error = upload.communicate(timeout=50)
                self.assertEqual(upload.returncode, 3)
                self.assertIn("cannot reach the server", error)
                self.assertEqual([outcome["outcome"] for outcome in json.loads(out)["outcomes"]], ["STORED"] * len(files))
                server.log.close()
                server.start()


if __name__ == "__main__":
    unittest.main()
