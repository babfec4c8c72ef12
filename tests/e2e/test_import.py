"""Everything that comes in files and not from scanners, on real images: archives in archives, the server's inbox, uploads that
are broken off, resumed, committed with a count or a manifest, and bytes that do not arrive as they were sent."""

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile

from harness import BIN, Server, needs_shared, sha256, shared_folder

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))


@needs_shared
class Import(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.server = Server()
        cls.server.environment["NARTHEX_PAUSE_POINTS"] = tempfile.mkdtemp(dir=cls.temporary.name)
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        data = shared_folder() / "data"
        # Two studies of different patients, and what is no image.
        cls.mr = sorted((data / "dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))[:8]
        cls.ct = sorted(path for path in (data / "dicom-ct-ge-hispeed").rglob("*") if path.suffix == ".dcm")[:3]
        cls.text = data / "dicom-mr-ge-mr750/mr_0004/.."/".."/"INDEX.md"
        cls.inbox = cls.server.data_dir / "d/inbox"

    def setUp(self):
        self.project = self.id().rsplit(".", 1)[1][5:25].upper().strip("_")
        self.server.narthex("project", "create", self.project)
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))

    def zip(self, name, *files):
        with zipfile.ZipFile(self.folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, file in enumerate(files):
                archive.write(file, f"folder/{number}_{file.name}")
        return self.folder / name

    def tar(self, name, *files):
        with tarfile.open(self.folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for number, file in enumerate(files):
                archive.add(file, f"folder/{number}_{file.name}")
        return self.folder / name

    def archived(self):
        """Digests of what the archive has of the project, after archiving what waits."""
        for row in self.server.prearchive("--project", self.project):
            if row["state"] == "RECEIVING":
                self.server.narthex("prearchive", "build", row["name"])
            self.server.narthex("prearchive", "archive", row["name"])
        return sorted(file["sha256"] for session in self.server.sessions(f'project = "{self.project}"')
                      for file in self.server.files(session["accessionId"]))

    def test_archives_of_every_kind_and_in_each_other(self):
        """A zip in a tar.gz beside a tar in a zip: each image is taken once, and each study becomes its session."""
        inner = self.zip("inner.zip", *self.mr[:2])
        outer = self.tar("outer.tar.gz", inner, *self.mr[2:4])
        inner_tar = self.tar("inner.tar", *self.ct)
        outer_zip = self.zip("outer.zip", inner_tar, *self.mr[4:])

        answer = self.server.narthex("import", outer, outer_zip, "--project", self.project)

        self.assertEqual({outcome["outcome"] for outcome in answer["outcomes"]}, {"STORED"})
        self.assertEqual(len(answer["outcomes"]), len(self.mr + self.ct))
        rows = self.server.prearchive("--project", self.project)
        self.assertEqual({row["modality"]: row["objectCount"] for row in rows}, {"MR": len(self.mr), "CT": len(self.ct)})
        self.assertEqual(self.archived(), sorted(map(sha256, self.mr + self.ct)))

    def test_what_is_no_image_does_not_stop_the_others(self):
        package = self.tar("mixed.tgz", self.mr[0], self.text, *self.mr[1:])

        answer = self.server.narthex("import", package, "--project", self.project, code=1)

        self.assertEqual([(o["outcome"], o["reason"]) for o in answer["outcomes"] if o["outcome"] != "STORED"],
                         [("REJECTED", "NOT_DICOM")])
        self.assertEqual(len(answer["outcomes"]), len(self.mr) + 1)
        self.assertEqual(self.archived(), sorted(map(sha256, self.mr)))

    def test_inbox_files_folders_and_archives(self):
        folder = self.inbox / self.project / "incoming"
        folder.mkdir(parents=True)
        for file in self.mr[:2]:
            shutil.copy(file, folder)
        shutil.copy(self.zip("some.zip", *self.mr[2:]), folder)
        shutil.copy(self.ct[0], folder / "kept.dcm")

        operation = self.server.narthex("inbox", "import", f"{self.project}/incoming", "--project", self.project, "--delete-after",
                                        "--no-wait")
        done = self.server.narthex("operation", "wait", operation["name"])

        self.assertTrue(done["done"])
        self.assertFalse(folder.exists(), "all was kept, so that it may go")
        self.assertEqual({row["source"] for row in self.server.prearchive("--project", self.project)}, {"inbox"})
        self.assertEqual(self.archived(), sorted(map(sha256, self.mr + self.ct[:1])))

        folder.mkdir()
        shutil.copy(self.text, folder)
        shutil.copy(self.ct[1], folder)
        self.server.narthex("inbox", "import", f"{self.project}/incoming", "--project", self.project, "--delete-after", code=None)
        self.assertEqual(len(list(folder.iterdir())), 2, "one was not kept, so that none goes")

    def test_a_pipe_is_refused_and_not_waited_for(self):
        (self.inbox / self.project).mkdir(parents=True)
        os.mkfifo(self.inbox / self.project / "pipe.dcm")
        answer = self.server.run("inbox", "import", f"{self.project}/pipe.dcm", "--project", self.project)
        self.assertEqual(answer.returncode, 1, answer.stdout)
        self.assertIn("it is no file", answer.stdout + answer.stderr)

    def test_users_take_from_the_inbox_of_their_project(self):
        for name in (self.project, "OTHERS"):
            (self.inbox / name).mkdir(parents=True)
            shutil.copy(self.mr[0], self.inbox / name / "a.dcm")
        os.symlink(self.inbox / "OTHERS", self.inbox / self.project / "link")
        self.server.narthex("user", "create", "inboxer")
        self.server.narthex("project", "member", "add", self.project, "inboxer", "member")
        token = self.server.narthex("token", "create", "--user", "inboxer")["secret"]

        def take(path):
            result = self.server.run("inbox", "import", path, "--project", self.project, "--delete-after", token=token)
            return result.returncode, result.stdout + result.stderr

        said = set()
        for path in ("OTHERS/a.dcm", "OTHERS/none.dcm", f"{self.project}/../OTHERS/a.dcm", f"{self.project}/link/a.dcm", "OTHERS",
                     "../admin.token"):
            code, text = take(path)
            self.assertEqual(code, 1, path)
            self.assertIn("INBOX_PATH", text)
            said.add(text.replace(path, "PATH"))
        self.assertEqual(len(said), 1, "nobody learns what there is in others' folders")
        self.assertTrue((self.inbox / "OTHERS/a.dcm").exists())
        self.assertEqual(take(f"{self.project}/a.dcm")[0], 0)
        self.assertEqual(self.archived(), [sha256(self.mr[0])])
        # Administrators choose.
        self.server.narthex("inbox", "import", "OTHERS/a.dcm", "--project", self.project, "--session", "CHOSEN")
        self.assertIn("CHOSEN", [row["label"] for row in self.server.prearchive("--project", self.project)])

    def test_a_commit_with_count_or_manifest_says_what_is_missing(self):
        import api
        import grpc
        client = api.Api(self.server)
        self.addCleanup(client.close)
        pb = api.module("upload_service")
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in self.mr]

        def send(name, numbers):
            def requests():
                yield pb.UploadRequest(open=pb.UploadOpen(name=name))
                for number in numbers:
                    yield pb.UploadRequest(pack=pb.ObjectPack(objects=[pb.WholeObject(
                        sequence=number, data=self.mr[number].read_bytes(), digest=digests[number])]))
            return [outcome.outcome for answer in client.stream("UploadService", "Upload", requests()) for outcome in answer.outcomes]

        for check in ({"expected_count": len(self.mr)}, {"manifest": digests}):
            with self.subTest(*check):
                upload = client.call("UploadService", "CreateUpload", digest_algorithm=2,
                                     destination=api.module("resources").Destination(project=self.project, session=next(iter(check))))
                self.assertEqual(set(send(upload.name, range(len(self.mr) - 2))), {1})
                with self.assertRaises(grpc.RpcError) as refused:
                    client.call("UploadService", "CommitUpload", name=upload.name, **check)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
                self.assertIn("2 objects", refused.exception.details())
                row, = [r for r in self.server.prearchive("--project", self.project) if r["label"] == next(iter(check))]
                self.assertEqual(row["state"], "RECEIVING")

                send(upload.name, range(len(self.mr) - 2, len(self.mr)))
                client.call("UploadService", "CommitUpload", name=upload.name, **check)

                self.server.wait_for(lambda: self.server.narthex("prearchive", "show", row["name"])["state"] == "READY", "the build")
                shown = self.server.narthex("prearchive", "show", row["name"])
                self.assertEqual((shown["completion"], shown["objectCount"]), ("manifest", len(self.mr)))

    def test_bytes_that_do_not_arrive_as_they_were_sent_are_refused(self):
        import api
        import grpc
        client = api.Api(self.server)
        self.addCleanup(client.close)
        pb, data = api.module("upload_service"), self.mr[0].read_bytes()
        digest = hashlib.sha256(data).digest()
        upload = client.call("UploadService", "CreateUpload", digest_algorithm=2,
                             destination=api.module("resources").Destination(project=self.project))
        damaged = data[:-7] + b"x" + data[-6:]

        def send(*messages):
            stream = client.stream("UploadService", "Upload", iter([pb.UploadRequest(open=pb.UploadOpen(name=upload.name)), *messages]))
            return [outcome for answer in stream for outcome in answer.outcomes]

        def whole(body):
            return pb.UploadRequest(pack=pb.ObjectPack(objects=[pb.WholeObject(sequence=0, data=body, digest=digest)]))

        def chunk(body, of):
            return pb.UploadRequest(chunk=pb.ObjectChunk(sequence=0, offset=0, data=body, crc32c=api.crc32c(of), last=True,
                                                         size_bytes=len(body), digest=digest))

        refused, = send(whole(damaged))
        self.assertEqual((refused.outcome, refused.reason), (6, "DIGEST_MISMATCH"))
        refused, = send(chunk(damaged, damaged))  # damaged before the checksum was made
        self.assertEqual((refused.outcome, refused.reason), (6, "DIGEST_MISMATCH"))
        try:
            refused, = send(chunk(damaged, data))  # and on its way
            self.assertEqual((refused.outcome, refused.reason), (6, "DIGEST_MISMATCH"))
        except grpc.RpcError as error:
            self.assertIn("checksum", error.details())
        self.assertEqual(self.server.prearchive("--project", self.project), [])
        self.assertEqual([outcome.outcome for outcome in send(chunk(data, data))], [1])
        self.assertEqual(self.archived(), [sha256(self.mr[0])])

    def test_an_upload_that_was_killed_goes_on(self):
        """The client dies while the server is held before its first answer; then it sends what has no answer, and no more."""
        ledger = self.folder / "ledger"
        command = [BIN / "narthex", "--output", "json", "upload", *self.mr, *self.ct, "--project", self.project, "--session", "AGAIN",
                   "--resume", ledger]
        environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)
        hold = pathlib.Path(self.server.environment["NARTHEX_PAUSE_POINTS"]) / "ingest.appended"
        hold.touch()
        try:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.server.wait_for(hold.with_name("ingest.appended.reached").exists, "the first objects")
            self.server.wait_for(ledger.exists, "what the client writes down")
            process.send_signal(signal.SIGKILL)
            process.communicate()
        finally:
            hold.unlink()
        self.server.stop()
        self.server.start()

        answer = self.server.narthex("upload", *self.mr, *self.ct, "--project", self.project, "--session", "AGAIN", "--resume", ledger)

        self.assertEqual(len(answer["outcomes"]), len(self.mr + self.ct))
        self.assertLessEqual({outcome["outcome"] for outcome in answer["outcomes"]}, {"STORED", "DUPLICATE"})
        rows = self.server.prearchive("--project", self.project)
        self.assertEqual(sum(row["objectCount"] for row in rows), len(self.mr + self.ct))
        for number, row in enumerate(rows):
            self.server.narthex("prearchive", "update", row["name"], "--label", f"AGAIN{number}")
        self.assertEqual(self.archived(), sorted(map(sha256, self.mr + self.ct)))

    def test_pixels_are_blanked_on_the_users_machine(self):
        """Of real images a rectangle, as the site's script says; the same that the server makes of them by itself."""
        import pydicom
        script = self.folder / "script.das"
        script.write_text('version "6.3"\nalterPixels["rectangle", "l=10, t=20, r=29, b=34", "solid", "v=100"]\n')
        self.server.narthex("anon", "set", script)
        self.server.narthex("anon", "enable")
        self.addCleanup(self.server.narthex, "anon", "disable")
        self.server.narthex("settings", "set", "anonymize.trusted_uploaders", "admin")
        self.addCleanup(self.server.narthex, "settings", "set", "anonymize.trusted_uploaders", "")
        pixels = {}
        for label, flags in (("LOCAL", ["--local-anonymize"]), ("REMOTE", [])):
            self.server.narthex("upload", *self.mr[:3], "--project", self.project, "--subject", "S", "--session", label,
                                *flags, "--archive")
            folder = self.folder / label
            self.server.narthex("session", "download", f"{self.project}/{label}", "-o", folder, "--verify")
            images = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
            pixels[label] = {str(image.SOPInstanceUID): image.PixelData for image in images}
        self.assertEqual(pixels["LOCAL"], pixels["REMOTE"])
        for path in self.mr[:3]:
            image = pydicom.dcmread(path)
            expected = image.pixel_array.copy()
            expected[20:35, 10:30] = 100
            self.assertNotEqual(image.PixelData, expected.tobytes())
            self.assertEqual(pixels["LOCAL"][str(image.SOPInstanceUID)], expected.tobytes())

    def test_an_import_can_be_cancelled(self):
        """It is held at its first object; what was taken until then stays and says so."""
        folder = self.inbox / self.project / "many"
        folder.mkdir(parents=True)
        for number, file in enumerate(self.mr):
            shutil.copy(file, folder / f"{number}.dcm")
        hold = pathlib.Path(self.server.environment["NARTHEX_PAUSE_POINTS"]) / "ingest.appended"
        reached = hold.with_name("ingest.appended.reached")
        reached.unlink(missing_ok=True)
        hold.touch()
        try:
            operation = self.server.narthex("inbox", "import", f"{self.project}/many", "--project", self.project, "--no-wait")["name"]
            self.server.wait_for(reached.exists, "the first object")
            self.server.narthex("operation", "cancel", operation)
        finally:
            hold.unlink()

        self.server.narthex("operation", "wait", operation, code=None)

        shown = self.server.narthex("operation", "show", operation)
        self.assertTrue(shown["done"])
        if "error" in shown:  # it had not read all of the folder yet
            self.assertEqual(shown["error"]["code"], 1)
        self.assertEqual(len(list(folder.iterdir())), len(self.mr))
        taken = self.archived()
        self.assertLessEqual(set(taken), set(map(sha256, self.mr)))


if __name__ == "__main__":
    unittest.main()
