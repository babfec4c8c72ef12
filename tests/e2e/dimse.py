"""Just enough DICOM networking, of its own making, to play a requester of storage commitment, or a sender that stops in the
middle of an object: PDUs, command sets and data sets in implicit VR little endian."""

import socket
import struct

COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
IMPLICIT = "1.2.840.10008.1.2"


def uid(text):
    data = text.encode()
    return data + b"\0" * (len(data) % 2)


def element(tag, value):
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def command_set(**elements):
    body = b"".join(element(int(tag[1:], 16), value if isinstance(value, bytes) else struct.pack("<H", value))
                    for tag, value in sorted(elements.items()))
    return element(0, struct.pack("<I", len(body))) + body


def parse(data):
    """{tag: value} of a data set; sequences (0008,1198) and (0008,1199) as lists of such."""
    found = {}
    while data:
        group, number, length = struct.unpack_from("<HHI", data)
        tag, value, data = group << 16 | number, data[8:8 + length], data[8 + length:]
        if tag in (0x00081198, 0x00081199):
            items = []
            while value:
                size = struct.unpack_from("<I", value, 4)[0]
                items.append(parse(value[8:8 + size]))
                value = value[8 + size:]
            value = items
        found[tag] = value
    return found


class Peer:
    """One end of an association."""

    def __init__(self, connection):
        self.connection = connection
        self.connection.settimeout(30)

    def close(self):
        self.connection.close()

    def receive_exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise ConnectionError("the peer hung up")
            data += more
        return data

    def receive_pdu(self):
        kind, length = struct.unpack(">BxI", self.receive_exactly(6))
        return kind, self.receive_exactly(length)

    def send_pdu(self, kind, body):
        self.connection.sendall(struct.pack(">BxI", kind, len(body)) + body)

    def send_message(self, command, data=None):
        for control, part in ((3, command), (2, data)):
            if part is not None:
                self.send_pdu(4, struct.pack(">IBB", len(part) + 2, 1, control) + part)

    def receive_message(self):
        """(command set, data set or None), both parsed."""
        parts = {1: b"", 0: b""}
        while True:
            kind, body = self.receive_pdu()
            if kind != 4:
                raise ConnectionError(f"PDU {kind}")
            while body:
                length, _, control = struct.unpack_from(">IBB", body)
                parts[control & 1] += body[6:4 + length]
                body = body[4 + length:]
                command = parse(parts[1]) if control == 3 or parts[0] else None
                if control == 3 and struct.unpack("<H", command[0x0800])[0] == 0x0101:
                    return command, None
                if control == 2:
                    return parse(parts[1]), parse(parts[0])

    @staticmethod
    def item(kind, body):
        return struct.pack(">BxH", kind, len(body)) + body


def send_data(peer, data, last):
    """Part of the data set that belongs to the message that was begun."""
    for start in range(0, len(data), 1 << 15):
        piece = data[start:start + (1 << 15)]
        end = last and start + len(piece) == len(data)
        peer.send_pdu(4, struct.pack(">IBB", len(piece) + 2, 1, 2 if end else 0) + piece)


def store(peer, sop_class, instance, data, meanwhile=lambda: None):
    """Sends one object, for which the association must have its context; the status of the answer. `meanwhile` is called
    when half of it was sent."""
    peer.send_message(command_set(_0002=uid(sop_class), _0100=1, _0110=1, _0700=0, _0800=1, _1000=uid(instance)))
    send_data(peer, data[:len(data) // 2], last=False)
    meanwhile()
    send_data(peer, data[len(data) // 2:], last=True)
    return struct.unpack("<H", peer.receive_message()[0][0x0900])[0]


def requested(host, port, called, calling, abstract=COMMITMENT, transfer=IMPLICIT, wrap=lambda plain: plain):
    """An association with one context: for storage commitment, or what is asked for. `wrap` encrypts the socket."""
    peer = Peer(wrap(socket.create_connection((host, int(port)), timeout=30)))
    context = struct.pack(">BxBx", 1, 0) + Peer.item(0x30, abstract.encode()) + Peer.item(0x40, transfer.encode())
    user = Peer.item(0x51, struct.pack(">I", 1 << 16)) + Peer.item(0x52, b"1.2.3")
    peer.send_pdu(1, struct.pack(">H2x", 1) + called.ljust(16).encode() + calling.ljust(16).encode() + b"\0" * 32 +
                  Peer.item(0x10, b"1.2.840.10008.3.1.1.1") + Peer.item(0x20, context) + Peer.item(0x50, user))
    kind, _ = peer.receive_pdu()
    if kind != 2:
        raise ConnectionError(f"rejected with PDU {kind}")
    return peer


def accepted(listener, wrap=lambda plain: plain):
    """Accepts one association for storage commitment reports: (peer, called, calling). `wrap` encrypts the socket."""
    listener.settimeout(60)
    peer = Peer(wrap(listener.accept()[0]))
    kind, body = peer.receive_pdu()
    assert kind == 1, kind
    called, calling = body[4:20].decode().strip(), body[20:36].decode().strip()
    context = struct.pack(">BxBx", 1, 0) + Peer.item(0x40, IMPLICIT.encode())
    user = Peer.item(0x51, struct.pack(">I", 1 << 16)) + Peer.item(0x52, b"1.2.3")
    peer.send_pdu(2, body[:68] + Peer.item(0x10, b"1.2.840.10008.3.1.1.1") + Peer.item(0x21, context) + Peer.item(0x50, user))
    return peer, called, calling


def ask(peer, transaction, instances):
    """Sends the N-ACTION; the status of its answer."""
    items = b"".join(element(0xFFFEE000, element(0x00081150, uid(c)) + element(0x00081155, uid(i))) for c, i in instances)
    peer.send_message(
        command_set(_0003=uid(COMMITMENT), _0100=0x0130, _0110=1, _0800=1, _1001=uid(COMMITMENT_INSTANCE), _1008=1),
        element(0x00081195, uid(transaction)) + element(0x00081199, items))
    command, _ = peer.receive_message()
    return struct.unpack("<H", command[0x0900])[0]


def take_report(peer):
    """(event type, transaction, committed instance UIDs, {failed instance UID: reason}), after answering it."""
    command, data = peer.receive_message()
    assert struct.unpack("<H", command[0x0100])[0] == 0x0100
    peer.send_message(command_set(_0002=uid(COMMITMENT), _0100=0x8100, _0120=command[0x0110], _0800=0x0101, _0900=0,
                                  _1000=uid(COMMITMENT_INSTANCE)))

    def text(value):
        return value.rstrip(b"\0 ").decode()
    return (struct.unpack("<H", command[0x1002])[0], text(data[0x00081195]),
            [text(item[0x00081155]) for item in data.get(0x00081199, [])],
            {text(item[0x00081155]): struct.unpack("<H", item[0x00081197])[0] for item in data.get(0x00081198, [])})


def release(peer):
    peer.send_pdu(5, b"\0" * 4)
    while peer.receive_pdu()[0] != 6:
        pass
    peer.close()
