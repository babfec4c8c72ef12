"""What a merge meets: a kill at any moment, and a download of what it replaces."""

import pathlib
import sys
import tempfile
import time
import unittest

from harness import Server, needs_shared, phantom, sha256, shared_folder
from test_merge import modify, verify


@needs_shared
class AfterEverything(unittest.TestCase):
    def test_verify_is_clean_after_merges_that_were_killed(self):
        source = sorted((shared_folder() / "data/dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))
        digests = sorted(map(sha256, source))
        with Server() as server:
            server.narthex("project", "create", "P")
            for number, delay in enumerate((0, 0.03, 0.06, 0.12)):
                reference = f"P/E{number}"
                upload = ["--project", "P", "--subject", "S", "--session", f"E{number}"]
                server.narthex("upload", *source[:10], *upload, "--archive")
                server.narthex("upload", *source[5:], *upload, "--no-commit")
                name, = [row["name"] for row in server.prearchive("--project", "P")]
                server.narthex("prearchive", "build", name)
                server.narthex("prearchive", "archive", name, "--conflict", "overwrite", "--no-wait")
                time.sleep(delay)  # the moment of the kill; any will do
                server.kill()
                server.start()
                self.assertIn(server.narthex("session", "show", reference)["fileCount"], (10, len(source)))
                server.wait_for(lambda: not server.prearchive("--project", "P"), "the merge to go on")
                self.assertEqual(sorted(f["sha256"] for f in server.files(reference) if f["format"] == "DICOM"), digests)
            server.stop()
            code, text = verify(server)
            self.assertEqual(code, 0, text)


class DuringADownload(unittest.TestCase):
    def test_what_is_replaced_meanwhile_is_said_and_not_taken_for_damage(self):
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))
        import grpc
        from api import Api
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            server.narthex("project", "create", "P1")
            files = phantom(folder, series=1, slices=5, size=2048, session="D")
            server.narthex("upload", *files, "--project", "P1", "--session", "D", "--archive")
            session = server.narthex("session", "show", "P1/D")
            api = Api(server)
            found = api._method("ArchiveService", "DownloadSession")
            stream = api.channel.unary_stream(
                "/narthex.v1.ArchiveService/DownloadSession",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=found.output_type._concrete_class.FromString)(
                    found.input_type._concrete_class(session=session["name"]), metadata=api.metadata, timeout=120)
            next(stream)  # the first file has begun; the last ones do not fit into what the network holds
            modify(files, "ImageComments=changed")
            server.narthex("upload", *files, "--project", "P1", "--session", "D", "--no-commit")
            name, = [row["name"] for row in server.prearchive("--project", "P1")]
            server.narthex("prearchive", "build", name)
            server.narthex("prearchive", "archive", name, "--conflict", "overwrite")

            with self.assertRaises(grpc.RpcError) as refused:
                for _ in stream:
                    pass

            self.assertEqual(refused.exception.code(), grpc.StatusCode.ABORTED, refused.exception.details())
            api.close()
            with tempfile.TemporaryDirectory() as download:
                server.narthex("session", "download", "P1/D", "-o", download, "--verify")
                self.assertEqual(sorted(map(sha256, pathlib.Path(download).rglob("*.dcm"))), sorted(map(sha256, files)))
            self.assertNotIn("damaged", server.log_text())


if __name__ == "__main__":
    unittest.main()
