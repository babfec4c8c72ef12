"""One user who takes all that there is to take: threads by calls that last, streams and memory by an upload, and everybody's
patience by wrong tokens. The others, and the scanner, go on."""

import hashlib
import pathlib
import queue
import shutil
import sys
import tempfile
import threading
import time
import unittest

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "robustness"))

import api  # noqa: E402
import rpc  # noqa: E402
from harness import Server, phantom  # noqa: E402
from test_limits import metric  # noqa: E402

WATCH = "/narthex.v1.PrearchiveService/WatchPrearchiveSessions"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHUNK = 2 << 20


def raw(message):
    return message


def with_header_of(path, size, to):
    """The image with so many bytes of private elements before its pixels."""
    import pydicom
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00090010, "LO", "NX")
    for index in range(size >> 20):
        dataset.add_new(0x00091001 + index, "OB", bytes(1 << 20))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.save_as(to)
    return to


class Sender:
    """An upload stream whose messages are sent one by one."""

    def __init__(self, client):
        pb, resources = api.module("upload_service"), api.module("resources")
        self.messages = queue.Queue()
        self.answers = client.stream("UploadService", "Upload", iter(self.messages.get, None))
        self.messages.put(pb.UploadRequest(open=pb.UploadOpen(destination=resources.Destination(project="P1"),
                                                       digest_algorithm=2)))
        assert next(self.answers).HasField("opened")

    def send(self, data, sequence=0, chunks=None):
        """The object, or its first `chunks` only."""
        pb = api.module("upload_service")
        pieces = [data[at:at + CHUNK] for at in range(0, len(data), CHUNK)]
        for index, piece in enumerate(pieces[:chunks]):
            last = index == len(pieces) - 1
            self.messages.put(pb.UploadRequest(chunk=pb.ObjectChunk(
                sequence=sequence, offset=index * CHUNK, data=piece, crc32c=api.crc32c(piece), last=last,
                digest=hashlib.sha256(data).digest() if last else b"")))

    def outcome(self):
        return next(self.answers).outcomes[0]

    def end(self):
        self.messages.put(None)


class Overload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        api.generate()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.files = phantom(cls.folder / "scan", session="SCAN1", series=1, slices=10)
        cls.pauses = cls.folder / "pauses"
        cls.pauses.mkdir()
        cls.server = Server(flags=["--metrics-listen", "127.0.0.1:0"])
        cls.server.environment["NARTHEX_PAUSE_POINTS"] = str(cls.pauses)
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.start()
        cls.server.narthex("project", "create", "P1")
        cls.tokens = {}
        for user in ("ann", "bob"):
            cls.server.narthex("user", "create", user)
            cls.server.narthex("project", "member", "add", "P1", user, "member")
            cls.tokens[user] = cls.server.narthex("token", "create", "--user", user)["secret"]
        cls.rpc = rpc.Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    def setting(self, key, value):
        default = next(row["value"] for row in self.server.narthex("settings", "get")["settings"] if row["key"] == key)
        self.server.narthex("settings", "set", key, value)
        self.addCleanup(self.server.narthex, "settings", "set", key, default)

    def channel(self):
        channel = grpc.insecure_channel(self.server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.addCleanup(channel.close)
        return channel

    def client(self, user):
        client = api.Api(self.server)
        client.metadata = [("authorization", f"Bearer {self.tokens[user]}")]
        self.addCleanup(client.close)
        return client

    def watch(self, channel, token):
        return channel.unary_stream(WATCH, request_serializer=raw, response_deserializer=raw)(
            b"", metadata=(("authorization", f"Bearer {token}"),))

    def in_use(self, call):
        """Whether the server lets a watch in: it says so at once by its first metadata."""
        return any(key == "narthex-next-sequence" for key, _ in call.initial_metadata())

    def refused(self, limit):
        return metric(self.server, "narthex_refused_total").get('{limit="%s"}' % limit, 0)

    def all_works(self):
        self.server.narthex("server", "info")
        name = f"W{time.monotonic_ns()}"
        phantom(self.folder / name, session=name, series=1, slices=3, seed=time.monotonic_ns() % (1 << 30))
        self.server.narthex("upload", self.folder / name, "--project", "P1", "--no-commit")
        name = f"D{time.monotonic_ns()}"
        phantom(self.folder / name, session=name, series=1, slices=3, seed=time.monotonic_ns() % (1 << 30))
        self.server.storescu("--to", "+sd", "+r", self.folder / name)
        self.assertEqual([row["objectCount"] for row in self.server.prearchive() if row["label"] == name], [3])

    def test_more_watches_than_threads_of_one_user_stop_nobody(self):
        before = self.refused("long_calls_per_user")
        channels = [self.channel() for _ in range(9)]
        watches = [self.watch(channels[number % 9], self.tokens["ann"]) for number in range(1040)]
        self.assertEqual(sum(map(self.in_use, watches)), 64)
        self.assertEqual(self.refused("long_calls_per_user") - before, 1040 - 64)
        self.assertTrue(self.in_use(self.watch(self.channel(), self.tokens["bob"])), "another user has a share, too")
        self.all_works()
        for channel in channels:
            channel.close()
        self.server.wait_for(lambda: self.in_use(self.watch(self.channel(), self.tokens["ann"])), "a place")

    def test_every_call_that_lasts_takes_a_place(self):
        self.setting("limits.long_calls_max", "1")
        watch = self.watch(self.channel(), self.tokens["ann"])
        self.addCleanup(watch.cancel)
        self.assertTrue(self.in_use(watch))
        # The one of gateways has places of its own; bringing objects, too.
        streams = [name for name, kinds in self.rpc.streams.items() if any(kinds) and name not in (
            "ReceiverService.WatchReceivers", "UploadService.Upload", "UploadService.ImportArchive")]
        self.assertGreaterEqual(len(streams), 7)
        for name in streams:
            for token in (self.server.token, self.tokens["bob"]):
                answer = self.rpc.call(name, [] if self.rpc.streams[name][0] else {}, token)
                self.assertEqual((answer.code, answer.reason), (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"), name)
                self.assertEqual(answer.metadata["limit"], "long_calls", name)

        phantom(self.folder / "held", session="HELD1", series=1, slices=2, seed=77)
        self.server.narthex("upload", self.folder / "held", "--project", "P1", "--no-commit")
        row = next(row["name"] for row in self.server.prearchive() if row["label"] == "HELD1")
        (self.pauses / "build.begun").touch()
        operation = self.server.narthex("prearchive", "build", row, "--no-wait")["name"]
        try:
            waited = self.rpc.call("Operations.WaitOperation", {"name": operation}, self.server.token)
            self.assertEqual(waited.reason, "OVERLOADED")
        finally:
            (self.pauses / "build.begun").unlink()
        watch.cancel()
        self.server.wait_for(lambda: self.rpc.call("Operations.WaitOperation", {"name": operation},
                                                   self.server.token).code == grpc.StatusCode.OK, "the operation")

    def test_streams_that_never_say_what_they_want_are_the_users_own(self):
        self.setting("limits.upload_streams_per_user_max", "3")
        self.setting("limits.calls_per_user_max", "2")
        end = threading.Event()
        self.addCleanup(end.set)
        channel = self.channel()

        def begin(name, user="ann"):
            def requests():
                end.wait(60)
                yield from ()
            kind = channel.stream_stream if name == "Upload" else channel.stream_unary
            call = kind(f"/narthex.v1.UploadService/{name}", request_serializer=raw, response_deserializer=raw)
            call = call if name == "Upload" else call.future
            return call(requests(), metadata=(("authorization", f"Bearer {self.tokens[user]}"),))

        held = [begin("ImportArchive") for _ in range(2)]  # noqa: F841

        def used_up():
            return self.rpc.call("ProjectService.ListProjects", {}, self.tokens["ann"]).reason == "OVERLOADED"
        self.server.wait_for(used_up, "both calls to be there")
        self.assertGreaterEqual(self.refused("calls_per_user"), 1)
        self.assertEqual(self.rpc.call("ProjectService.ListProjects", {}, self.tokens["bob"]).code, grpc.StatusCode.OK)
        before = self.refused("upload_streams_per_user")
        calls = [begin("Upload") for _ in range(4)]  # for the one place that is left
        self.server.wait_for(lambda: sum(call.done() for call in calls) == 3, "three refusals")
        for call in calls:
            if call.done():
                self.assertEqual(call.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                self.assertIn("as many as one may have", call.details())
        self.assertEqual(self.refused("upload_streams_per_user") - before, 3)

    def test_a_client_that_stops_sending_files_is_let_go(self):
        self.setting("limits.upload_idle_seconds", "2")
        end = threading.Event()
        self.addCleanup(end.set)

        def requests():
            end.wait(60)
            yield from ()
        call = self.channel().stream_unary("/narthex.v1.ResourceService/AddResourceFiles", request_serializer=raw,
                                           response_deserializer=raw)
        with self.assertRaises(grpc.RpcError) as ended:
            call.future(requests(), metadata=(("authorization", f"Bearer {self.tokens['ann']}"),)).result(timeout=60)
        self.assertEqual(ended.exception.code(), grpc.StatusCode.CANCELLED)

    def test_reflection_which_asks_for_no_token_takes_a_few_threads_only(self):
        end = threading.Event()
        self.addCleanup(end.set)

        def begin(channel):
            def requests():
                yield b"\x3a\x00"  # list_services
                end.wait(60)
            return channel.stream_stream(REFLECTION, request_serializer=raw, response_deserializer=raw)(requests())

        def answered(call):
            try:
                return b"narthex.v1.UploadService" in next(call)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.CANCELLED)
                return False
        channel = self.channel()
        calls = [begin(channel) for _ in range(40)]
        self.assertEqual(sum(map(answered, calls)), 16)
        self.assertEqual(self.refused("reflection"), 24)
        channel.close()
        self.server.wait_for(lambda: answered(begin(self.channel())), "a place")

    def hold_all(self, sender, other, data):
        """`sender` holds all the memory that its user may have; `other`, of the same user, is refused more."""
        sender.send(data, chunks=3)
        self.server.wait_for(lambda: metric(self.server, "narthex_held_bytes") == {"": 2.0 * CHUNK}, "two chunks to be held")
        other.send(data)
        outcome = other.outcome()
        self.assertEqual(outcome.reason, "OVERLOADED")
        self.assertGreaterEqual(self.refused("held_bytes"), 1)

    def test_memory_for_headers_is_shared_and_comes_back(self):
        self.setting("limits.held_bytes_max", str(4 * CHUNK))
        data = with_header_of(self.files[0], 8 << 20, self.folder / "bob.dcm").read_bytes()
        smaller = with_header_of(self.files[0], 3 << 20, self.folder / "ann.dcm").read_bytes()
        bulk, more, other = Sender(self.client("bob")), Sender(self.client("bob")), Sender(self.client("ann"))
        self.hold_all(bulk, more, data)

        other.send(smaller)
        outcome = other.outcome()
        self.assertEqual(outcome.reason, "", "another user finds room")
        bulk.end()
        self.server.wait_for(lambda: metric(self.server, "narthex_held_bytes") == {"": 0.0}, "the memory to be free")
        again = with_header_of(self.files[2], 3 << 20, self.folder / "again.dcm").read_bytes()
        more.send(again, sequence=1)
        self.assertEqual(more.outcome().reason, "")
        for sender in (more, other):
            sender.end()

    def test_a_scanner_gets_through_beside_a_bulk_upload_that_has_all_it_may(self):
        self.setting("limits.upload_streams_per_user_max", "3")
        self.setting("limits.held_bytes_max", str(4 * CHUNK))
        client = self.client("bob")
        senders = [Sender(client) for _ in range(3)]
        with self.assertRaises(grpc.RpcError):
            Sender(client)
        self.hold_all(senders[0], senders[1], with_header_of(self.files[0], 8 << 20, self.folder / "big.dcm").read_bytes())
        stop, outcomes = threading.Event(), []

        def press():
            """What it may still send, it sends all the time."""
            small, sequence = self.files[1].read_bytes(), 1
            while not stop.is_set():
                senders[2].send(small, sequence)
                outcomes.append(senders[2].outcome().reason)
                sequence += 1
        pressing = threading.Thread(target=press)
        pressing.start()
        try:
            images = phantom(self.folder / "scanner", session="SCANNER1", series=1, slices=20, seed=5)
            with_header_of(images[0], 3 << 20, self.folder / "scanner/large-header.dcm")
            self.server.storescu("--to", "+sd", "+r", self.folder / "scanner")
        finally:
            stop.set()
            pressing.join()
        self.assertEqual([row["objectCount"] for row in self.server.prearchive() if row["label"] == "SCANNER1"], [21])
        self.assertTrue(outcomes)
        self.assertLessEqual(set(outcomes), {"", "SAME_BYTES"}, "what it may send is kept")
        self.assertEqual(metric(self.server, "narthex_held_bytes"), {"": 2.0 * CHUNK}, "the bulk upload still has its share")
        for sender in senders:
            sender.end()

    def test_who_is_known_goes_on_beside_a_flood_of_wrong_tokens(self):
        def ask(token):
            return self.rpc.call("ProjectService.ListProjects", {}, token).reason

        def flood():
            for number in range(300):
                if ask(f"nx_wrong{number}") == "TOO_MANY_FAILURES":
                    return
            self.fail("wrong tokens are not limited")
        self.assertEqual(ask(self.tokens["ann"]), "")
        begin = time.monotonic()
        while time.monotonic() < begin + 8:  # answers are remembered for 5 s
            flood()
            self.assertEqual(ask(self.tokens["ann"]), "")
        made = self.server.narthex("token", "create", "--user", "ann")
        flood()
        self.assertEqual(ask(made["secret"]), "", "a new token is good at once")
        self.server.narthex("token", "revoke", made["token"]["name"])
        flood()
        self.assertEqual(ask(made["secret"]), "UNAUTHENTICATED")
        flood()
        self.assertEqual(ask(made["secret"]), "TOO_MANY_FAILURES", "it is asked for no more")


if __name__ == "__main__":
    unittest.main()
