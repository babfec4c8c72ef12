"""More than the machine can take: what is refused, how clearly, and that it goes on afterwards."""

import pathlib
import shutil
import socket
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

import api  # noqa: E402
import rpc  # noqa: E402
from harness import Server, phantom  # noqa: E402


def metric(server, name):
    """All lines of a metric, as {labels: value}."""
    with urllib.request.urlopen(f"http://{server.ready['metrics']}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {line[len(name):].rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines
            if line.startswith(name) and line[len(name)] in "{ "}


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        api.generate()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.files = phantom(cls.folder / "scan", session="SCAN1", series=2, slices=20)

    def server(self, *flags, **more):
        server = Server(flags=["--metrics-listen", "127.0.0.1:0", *flags], **more)
        self.addCleanup(server.__exit__)
        server.start()
        server.narthex("project", "create", "P1")
        return server

    def connect(self, server, address=None):
        host, port = (address or server.address).rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10)

    def open_stream(self, server, client):
        """An upload stream that says where it wants to send and then nothing. Returns its answers and how to end it."""
        pb, resources = api.module("upload_service"), api.module("resources")
        hold = threading.Event()

        def requests():
            yield pb.UploadRequest(open=pb.UploadOpen(destination=resources.Destination(project="P1")))
            hold.wait(60)

        return client.stream("UploadService", "Upload", requests()), hold

    def test_streams_are_refused_by_name_and_a_scanner_still_gets_through(self):
        server = self.server()
        server.narthex("settings", "set", "limits.upload_streams_per_user_max", "3")
        client = api.Api(server)
        self.addCleanup(client.close)
        streams = [self.open_stream(server, client) for _ in range(3)]
        for answers, _ in streams:
            self.assertTrue(next(answers).HasField("opened"))

        with self.assertRaises(grpc.RpcError) as refused:
            next(self.open_stream(server, client)[0])
        self.assertEqual(refused.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn("as many as one may have", refused.exception.details())
        # The bulk import has all of its places; the scanner's images arrive all the same.
        server.storescu("--to", "+sd", "+r", self.folder / "scan")
        self.assertEqual(server.prearchive()[0]["objectCount"], len(self.files))
        self.assertEqual(metric(server, "narthex_refused_total"), {'{limit="upload_streams_per_user"}': 1.0})
        for _, hold in streams:
            hold.set()

        def again():
            answers, hold = self.open_stream(server, client)
            try:
                return next(answers).HasField("opened")
            except grpc.RpcError:
                return False
            finally:
                hold.set()
        server.wait_for(again, "a place")

    def test_associations_of_one_address_are_rejected_and_those_of_others_accepted(self):
        server = self.server()
        server.narthex("settings", "set", "limits.associations_per_address_max", "2")
        held = [self.connect(server, f"{server.dicom_host}:{server.dicom_port}") for _ in range(2)]
        self.addCleanup(lambda: [one.close() for one in held])

        rejected = server.storescu("--to", "+sd", "+r", self.folder / "scan", code=None)
        self.assertNotEqual(rejected.returncode, 0)
        self.assertIn("Local Limit Exceeded", rejected.stdout + rejected.stderr)
        for one in held:
            one.close()
        server.wait_for(lambda: server.storescu("--to", tool="echoscu", code=None).returncode == 0, "an association")

    def test_a_flood_of_associations_from_one_address_keeps_no_place_of_others(self):
        server = self.server()
        server.narthex("settings", "set", "limits.associations_max", "8")
        server.narthex("settings", "set", "limits.associations_per_address_max", "4")
        # More than all places, and than those who are told that there is none.
        port = int(server.dicom_port)
        held = [socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.0.2", 0))
                for _ in range(100)]
        self.addCleanup(lambda: [one.close() for one in held])
        server.wait_for(lambda: any(value >= 80 for value in metric(server, "narthex_gateway_rejected_total").values()),
                        "the flood to be refused")
        server.storescu("--to", "+sd", "+r", self.folder / "scan")  # from another address

    def test_a_stalled_stream_is_ended_and_a_working_one_is_not(self):
        server = self.server()
        server.narthex("settings", "set", "limits.upload_idle_seconds", "2")
        client = api.Api(server)
        self.addCleanup(client.close)
        answers, hold = self.open_stream(server, client)
        self.assertTrue(next(answers).HasField("opened"))

        with self.assertRaises(grpc.RpcError) as ended:
            next(answers)
        hold.set()
        self.assertEqual(ended.exception.code(), grpc.StatusCode.CANCELLED)
        self.assertEqual(metric(server, "narthex_stalled_calls_total"), {"": 1.0})
        server.narthex("upload", self.folder / "scan", "--project", "P1", "--no-commit")

    def test_a_client_that_stops_reading_its_download_is_let_go(self):
        server = self.server()
        phantom(self.folder / "large", session="LARGE1", series=1, slices=40, size=512)
        server.narthex("upload", self.folder / "large", "--project", "P1", "--archive")
        server.narthex("settings", "set", "limits.upload_idle_seconds", "2")
        client = rpc.Rpc(server.address)
        self.addCleanup(client.close)
        answers = client.begin("ArchiveService.DownloadSession", {"session": server.sessions()[0]["name"]}, server.token)
        next(answers)

        server.wait_for(lambda: metric(server, "narthex_stalled_calls_total") == {"": 1.0}, "the stalled download to end")
        with self.assertRaises(grpc.RpcError) as ended:
            for _ in answers:
                pass
        self.assertEqual(ended.exception.code(), grpc.StatusCode.CANCELLED)
        # Who reads gets all of it.
        server.narthex("session", "download", "P1/LARGE1", "--out", self.folder / "read")

    def test_running_out_of_descriptors_is_not_the_end(self):
        server = self.server(wrapper=["prlimit", "--nofile=200:200", "--"])
        held = []
        self.addCleanup(lambda: [one.close() for one in held])
        for address in (server.address, f"{server.dicom_host}:{server.dicom_port}"):
            held += [self.connect(server, address) for _ in range(150)]
        server.wait_for(lambda: "cannot be accepted" in server.log_text(), "descriptors to run out")
        for one in held:
            one.close()

        server.wait_for(lambda: server.run("server", "info", timeout=60).returncode == 0, "gRPC")
        server.storescu("--to", "+sd", "+r", self.folder / "scan")
        self.assertEqual(server.prearchive()[0]["objectCount"], len(self.files))

    def test_connections_of_one_address_are_limited_and_forgotten_when_closed(self):
        server = self.server()
        server.narthex("settings", "set", "limits.connections_per_address_max", "20")
        for _ in range(3):
            held = [self.connect(server) for _ in range(40)]
            time.sleep(0.1)
            for one in held:
                one.close()
        server.wait_for(lambda: server.run("server", "info", timeout=60).returncode == 0, "a connection")
        refused = metric(server, "narthex_refused_total")['{limit="connections"}']
        self.assertGreaterEqual(refused, 3 * 19)

    def test_a_connection_that_says_nothing_is_closed_when_its_handshake_is_due(self):
        server = self.server()
        begin = time.monotonic()
        with self.connect(server) as silent:
            silent.settimeout(60)
            while silent.recv(4096):  # the server's settings, and then why it goes
                pass
        self.assertTrue(15 < time.monotonic() - begin < 40)

    def test_limits_have_ranges(self):
        server = self.server()
        for value in ("0", "-1", "many", "100000000000"):
            self.assertNotEqual(server.run("settings", "set", "limits.associations_max", value).returncode, 0, value)


if __name__ == "__main__":
    unittest.main()
