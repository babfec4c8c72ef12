"""Calls to narthexd from Python, over stubs that are made from proto/ when a test starts.

    api = Api(server)
    sessions = api.pages("PrearchiveService", "ListPrearchiveSessions", "prearchive_sessions")

It is not a client library: it sends what a test says, waits for nothing and repeats nothing, so that what it sees is
what the server said.
"""

import importlib
import os
import pathlib
import subprocess
import sys
import tempfile

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/e2e"))

import marks  # noqa: E402

GOOGLEAPIS = pathlib.Path(os.environ.get("GOOGLEAPIS_DIR", ROOT / ".deps/googleapis"))
_SERVICES = {"UploadService": "upload_service", "PrearchiveService": "prearchive_service",
             "ArchiveService": "archive_service", "ProjectService": "project_service"}
_generated = None


def generate():
    """Makes Python modules of the protos and loads them, once a process. Call it before threads start."""
    global _generated
    if _generated:
        return
    _generated = tempfile.TemporaryDirectory(prefix="narthex-stubs-")
    protos = [path.relative_to(ROOT / "proto") for path in (ROOT / "proto").rglob("*.proto")]
    google = ["google/longrunning/operations.proto", "google/rpc/status.proto", "google/rpc/error_details.proto",
              "google/api/annotations.proto", "google/api/http.proto", "google/api/client.proto",
              "google/api/launch_stage.proto"]
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"-I{GOOGLEAPIS}", f"--python_out={_generated.name}",
                    *map(str, protos), *google], check=True)
    sys.path.insert(0, _generated.name)
    import google as package
    package.__path__.append(f"{_generated.name}/google")
    for name in (*_SERVICES.values(), "resources"):
        importlib.import_module(f"narthex.v1.{name}_pb2")


def module(name):
    generate()
    return importlib.import_module(f"narthex.v1.{name}_pb2")


class Api:
    def __init__(self, server):
        generate()
        self.channel = grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", 64 << 20),
                                                                      ("grpc.enable_retries", 0)])
        self.metadata = [("authorization", f"Bearer {server.token}")]

    def close(self):
        self.channel.close()

    def _method(self, service, method):
        return module(_SERVICES[service]).DESCRIPTOR.services_by_name[service].methods_by_name[method]

    def request_class(self, service, method):
        return self._method(service, method).input_type._concrete_class

    def call(self, service, method, timeout=30, **fields):
        found = self._method(service, method)
        call = self.channel.unary_unary(f"/narthex.v1.{service}/{method}",
                                        request_serializer=lambda message: message.SerializeToString(),
                                        response_deserializer=found.output_type._concrete_class.FromString)
        try:
            return call(found.input_type._concrete_class(**fields), metadata=self.metadata, timeout=timeout)
        except grpc.RpcError as error:
            marks.listen_to_call(method, error)
            raise

    def stream(self, service, method, requests, timeout=60):
        found = self._method(service, method)
        call = self.channel.stream_stream(f"/narthex.v1.{service}/{method}",
                                          request_serializer=lambda message: message.SerializeToString(),
                                          response_deserializer=found.output_type._concrete_class.FromString)
        started = call(requests, metadata=self.metadata, timeout=timeout)
        started.add_callback(lambda: marks.listen_to_call(method, started))
        return started

    def pages(self, service, method, field, **fields):
        """All items of a list, of all its pages."""
        items, token = [], ""
        while True:
            answer = self.call(service, method, page_size=1000, page_token=token, **fields)
            items.extend(getattr(answer, field))
            token = answer.next_page_token
            if not token:
                return items


_CRC32C_TABLE = []


def crc32c(data):
    if not _CRC32C_TABLE:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ 0x82F63B78 if byte & 1 else byte >> 1
            _CRC32C_TABLE.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
