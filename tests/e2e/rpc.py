"""Calls any RPC of a server by its name, with messages made from the protos: what a test that must know all of them needs.

    rpc = Rpc(server.address)
    answer = rpc.call("ProjectService.GetProject", {"name": "projects/P1"}, token)
    answer.code, answer.message, answer.reply
"""

import os
import pathlib
import subprocess
import tempfile
import typing

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

import marks

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOOGLEAPIS = pathlib.Path(os.environ.get("GOOGLEAPIS_DIR", ROOT / ".deps/googleapis"))


class Answer(typing.NamedTuple):
    code: grpc.StatusCode
    message: str
    reason: str
    reply: list  # of dictionaries, in proto3 JSON; unary calls have one
    metadata: dict = {}  # of the error


class Rpc:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)])
        protos = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/narthex").rglob("*.proto"))
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(["protoc", f"-I{ROOT / 'proto'}", f"-I{GOOGLEAPIS}", "--include_imports",
                            f"--descriptor_set_out={file.name}", *protos, "google/longrunning/operations.proto",
                            "google/rpc/error_details.proto", "google/rpc/status.proto"],
                           check=True)
            files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(file.name).read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for one in files.file:
            self.pool.Add(one)
        self.methods = {}
        for one in files.file:
            if not (one.package.startswith("narthex") or one.package == "google.longrunning"):
                continue
            for service in self.pool.FindFileByName(one.name).services_by_name.values():
                for method in service.methods:
                    self.methods[f"{service.name}.{method.name}"] = (service, method)
        streams = {(one.package, service.name, method.name): (method.client_streaming, method.server_streaming)
                   for one in files.file for service in one.service for method in service.method}
        self.streams = {name: streams[(service.file.package, service.name, method.name)]
                        for name, (service, method) in self.methods.items()}

    def close(self):
        self.channel.close()

    def _class(self, descriptor):
        return message_factory.MessageFactory(self.pool).GetPrototype(descriptor)

    def begin(self, name, request, token=None, timeout=60):
        """The call itself: a message, or what iterates over the messages of a server's stream."""
        service, method = self.methods[name]
        client_streams, server_streams = self.streams[name]
        kind = f"{'stream' if client_streams else 'unary'}_{'stream' if server_streams else 'unary'}"
        make = getattr(self.channel, kind)
        stub = make(f"/{service.full_name}/{method.name}",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=self._class(method.output_type).FromString)
        messages = [json_format.ParseDict(one, self._class(method.input_type)())
                    for one in (request if client_streams else [request])]
        metadata = [("authorization", f"Bearer {token}")] if token is not None else []
        try:
            call = stub(iter(messages) if client_streams else messages[0], metadata=metadata, timeout=timeout)
        except grpc.RpcError as error:
            marks.listen_to_call(name, error)
            raise
        if server_streams:
            call.add_callback(lambda: marks.listen_to_call(name, call))
        return call

    def call(self, name, request, token=None, timeout=20, most=1000):
        """`request`: a dictionary, or a list of them for a client's stream. `most`: of a server's stream."""
        replies = []
        try:
            call = self.begin(name, request, token, timeout)
            for reply in call if self.streams[name][1] else [call]:
                replies.append(json_format.MessageToDict(reply, descriptor_pool=self.pool))
                if len(replies) >= most:
                    call.cancel()
                    break
        except grpc.RpcError as error:
            info = self._info(error)
            return Answer(error.code(), error.details(), info.reason, replies, dict(info.metadata))
        return Answer(grpc.StatusCode.OK, "", "", replies)

    def _info(self, error):
        status = self._class(self.pool.FindMessageTypeByName("google.rpc.Status"))()
        info = self._class(self.pool.FindMessageTypeByName("google.rpc.ErrorInfo"))()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status.ParseFromString(value)
                for detail in status.details:
                    if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                        info.ParseFromString(detail.value)
        return info
