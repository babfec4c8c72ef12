"""Stands between a server and its PostgreSQL, counts the server's calls and breaks one of them.

A call is what ends with a Query or a Sync message: all that PostgreSQL answers at once. What comes before that message is kept
here until it comes, so that a call that is lost is lost as a whole (a COMMIT within it would count without its Sync).
"""

import pathlib
import re
import socket
import struct
import threading
import time

LOST, UNKNOWN, AWAY = "lost", "unknown", "away"
AWAY_SECONDS = 1.0
_ENDS_OF_CALLS = b"QS"
_PARTS_OF_CALLS = b"PBDEC"
# Beyond this a call is no call of ours, and the proxy would only fill the memory.
_CALL_BYTES_MAX = 64 << 20
_CHANGES = re.compile(rb"\b(INSERT|UPDATE|DELETE|COMMIT|TRUNCATE|ALTER|CREATE)\b", re.IGNORECASE)


def read_exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return bytes(data)


def read_message(sock):
    """One message with a type byte: (type, all of its bytes)."""
    head = read_exactly(sock, 5)
    length, = struct.unpack("!i", head[1:])
    if not 4 <= length <= _CALL_BYTES_MAX:
        raise ConnectionError("not the protocol")
    return head[:1], head + read_exactly(sock, length - 4)


class Connection:
    def __init__(self, client, backend):
        self.client, self.backend = client, backend
        self.withheld = False  # its answers are not passed on any more
        self.statements = {}  # prepared: name -> SQL

    def close(self):
        for sock in (self.client, self.backend):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def sql_of(self, call):
        """The statements of a call, for a report and to know whether it changes something."""
        texts = []
        for kind, message in call:
            body = message[5:]
            if kind == b"Q":
                texts.append(body.rstrip(b"\0"))
            elif kind == b"P":
                name, sql = body.split(b"\0", 2)[:2]
                self.statements[name] = sql
                if not name:
                    texts.append(sql)
            elif kind == b"B":
                name = body.split(b"\0", 2)[1]
                if name:
                    texts.append(self.statements.get(name, b"?"))
        return texts


class Proxy:
    def __init__(self, unix_socket):
        self.unix_socket = str(unix_socket)
        self.lock = threading.Lock()
        self.connections = set()
        self.at, self.kind = 0, None  # the call that is to be broken; 0: none
        self.count = 0  # calls since it was armed
        self.struck = None  # the statements of the call that was broken
        self.away_until = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def arm(self, at, kind):
        """Call number `at` from now on (1: the next) is broken. 0: calls are counted only."""
        with self.lock:
            self.at, self.kind, self.count, self.struck = at, kind, 0, None

    def disarm(self):
        """Nothing is broken any more. The statements of the call that was, or None."""
        with self.lock:
            self.at = 0
            return self.struck

    def stop(self):
        self.listener.close()
        self.cut_all()

    def cut_all(self):
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            connection.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if time.monotonic() < self.away_until:
                client.close()
                continue
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, socket.socket(socket.AF_UNIX) as backend:
            connection = Connection(client, backend)
            down = threading.Thread(target=self.answer, args=(connection,), daemon=True)
            try:
                backend.connect(self.unix_socket)
                with self.lock:
                    self.connections.add(connection)
                down.start()
                self.forward(connection)
            except OSError:
                pass
            connection.close()
            with self.lock:
                self.connections.discard(connection)
            if down.ident:
                down.join()

    def forward(self, connection):
        """From the server to PostgreSQL."""
        length, = struct.unpack("!i", read_exactly(connection.client, 4))
        connection.backend.sendall(struct.pack("!i", length) + read_exactly(connection.client, length - 4))
        call = []
        while True:
            kind, message = read_message(connection.client)
            call.append((kind, message))
            if kind in _PARTS_OF_CALLS and sum(len(part) for _, part in call) < _CALL_BYTES_MAX:
                continue
            statements = connection.sql_of(call)
            strike = self.counted(statements) if kind in _ENDS_OF_CALLS else None
            if strike == UNKNOWN:
                connection.withheld = True
            elif strike == AWAY:
                self.away_until = time.monotonic() + AWAY_SECONDS
                self.cut_all()
                return
            elif strike == LOST:
                return
            connection.backend.sendall(b"".join(part for _, part in call))
            call = []

    def counted(self, statements):
        """Which way the call is to be broken; None: it is not."""
        with self.lock:
            self.count += 1
            if self.at == 0 or self.count != self.at or self.struck is not None:
                return None
            self.struck = statements
            return self.kind

    @staticmethod
    def answer(connection):
        """From PostgreSQL to the server."""
        try:
            while True:
                kind, message = read_message(connection.backend)
                if not connection.withheld:
                    connection.client.sendall(message)
                elif kind == b"Z":  # PostgreSQL is through with the call
                    break
        except OSError:
            pass
        connection.close()


def changes(statements):
    """Whether a call may have changed something, and not only read."""
    return any(_CHANGES.search(sql) for sql in statements)


def socket_of(folder):
    return next(pathlib.Path(folder).glob(".s.PGSQL.*[0-9]"))
