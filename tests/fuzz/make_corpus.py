"""Writes the seeds in corpus/ that are binary: small made-up objects, frames, messages and archives. The texts beside
them are written by hand. Real images become seeds by make_seeds.py.

  tests/fuzz/make_corpus.py
"""

import io
import pathlib
import struct
import tarfile
import zipfile

CORPUS = pathlib.Path(__file__).parent / "corpus"


def element(tag, vr, value):
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def image(syntax, pixels, *, samples=1, bits=8, frames=1, photometric=b"MONOCHROME2"):
    """A Part 10 object of 4 rows and 6 columns."""
    meta = element(0x00020002, b"UI", b"1.2.840.10008.5.1.4.1.1.7") + element(0x00020003, b"UI", b"1.2.3")
    meta += element(0x00020010, b"UI", syntax)
    us = lambda tag, number: element(tag, b"US", struct.pack("<H", number))
    item = element(0x00081155, b"UI", b"1.2.3.4") + element(0x00100010, b"PN", b"Doe^Jane")
    data = element(0x00080005, b"CS", b"ISO_IR 100") + element(0x00080018, b"UI", b"1.2.3")
    data += element(0x00080020, b"DA", b"20200115") + element(0x0008002A, b"DT", b"20200115101112.5+0100")
    data += element(0x00081140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)
    data += element(0x00100010, b"PN", b"M\xfcller^J") + element(0x00100020, b"LO", b"PID-007")
    data += element(0x00190010, b"LO", b"SIEMENS MR HEADER") + element(0x00191008, b"CS", b"IMAGE NUM 4")
    data += us(0x00280002, samples) + element(0x00280004, b"CS", photometric)
    data += (us(0x00280006, 0) if samples > 1 else b"") + element(0x00280008, b"IS", str(frames).encode())
    data += us(0x00280010, 4) + us(0x00280011, 6) + us(0x00280100, bits) + us(0x00280101, bits)
    data += us(0x00280102, bits - 1) + us(0x00280103, 0)
    return b"\0" * 128 + b"DICM" + meta + data + pixels


def fragments(*values):
    out = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for value in values:
        out += struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    return out + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def rle(*segments):
    """An RLE frame of segments that are each one run or literal."""
    offsets, body = [], b""
    for segment in segments:
        offsets.append(64 + len(body))
        body += segment
    return struct.pack("<16I", len(segments), *(offsets + [0] * (15 - len(offsets)))) + body


def command(*elements):
    """A command set with its group length: implicit VR little endian."""
    body = b""
    for number, value in elements:
        value = value.encode() + b"\0" * (len(value) % 2) if isinstance(value, str) else struct.pack("<H", value)
        body += struct.pack("<HHI", 0, number, len(value)) + value
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def pdata(context, is_command, value):
    return struct.pack(">BBII", 4, 0, len(value) + 6, len(value) + 2) + bytes([context, 2 + is_command]) + value


def store_request(sop_class="1.2.840.10008.5.1.4.1.1.4", instance="1.2.3"):
    return command((2, sop_class), (0x100, 1), (0x110, 7), (0x700, 0), (0x800, 0), (0x1000, instance))


def store(data, instance="1.2.3"):
    """What a sender writes for one object, and its release."""
    out = pdata(1, 1, store_request(instance=instance))
    return out + pdata(1, 0, data) + struct.pack(">BBII", 5, 0, 4, 0)


def associate():
    """The body of an A-ASSOCIATE-RQ."""
    item = lambda kind, value: struct.pack(">BBH", kind, 0, len(value)) + value
    context = item(0x20, b"\1\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2"))
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3") + item(0x53, b"\0\x08\0\1")
    user += item(0x54, b"\0\x111.2.840.10008.1.1\1\0") + item(0x55, b"NAME") + item(0x58, b"\1\0\0\1a\0\0")
    head = struct.pack(">HH", 1, 0) + b"NARTHEX".ljust(16) + b"SCANNER".ljust(16) + bytes(32)
    return head + item(0x10, b"1.2.840.10008.3.1.1.1") + context + item(0x50, user)


def commitment(explicit):
    put = element if explicit else lambda tag, vr, value: struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    item = put(0x00081150, b"UI", b"1.2.4\0") + put(0x00081155, b"UI", b"1.2.3.4\0")
    items = (struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item) * 2
    return put(0x00081195, b"UI", b"1.2.9\0") + put(0x00081199, b"SQ", items)


def archives(name, content):
    """A zip, deflated, and a gzipped tar of one object twice and of a text."""
    files = {name: content, f"folder/{name}": content, "notes.txt": b"no image"}
    packed, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for path, data in files.items():
            out.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
    with tarfile.open(fileobj=tarred, mode="w") as out:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return packed.getvalue(), tarred.getvalue()


def write_messages(grey):
    body = grey[grey.index(b"\x08\0\x05\0CS"):]
    zipped, tarred = archives("a.dcm", grey)
    seeds = {
        "header_scanner": {"grey": b"\0" + grey, "strict": b"\x63" + grey, "bare": b"\x0d" + body},
        "dimse_command": {"store": store_request(), "echo": command((2, "1.2.840.10008.1.1"), (0x100, 0x30), (0x110, 1)),
                          "data": body[:300]},
        "pdu_codec": {"request": associate()},
        "pdu_association": {"store": b"\1" + store(body), "pieces": b"\3" + store(body)[:200],
                            "raw": b"\0" + struct.pack(">BBI", 1, 0, len(associate())) + associate()},
        "commitment_request": {"explicit": commitment(True), "implicit": commitment(False)},
        "archive_import": {"zip": b"\x0c" + zipped, "tar": b"\x0c" + tarred},
        # Messages of four bytes: see the fuzzer.
        "upload_stream": {"whole": bytes([1, 1, 0, 0, 1, 2, 1, 0, 1, 3, 2, 0]),
                          "chunks": bytes([0, 1, 3, 20, 34, 1, 3, 0, 128, 2, 4, 0]),
                          "errors": bytes([5, 1, 0, 0, 8, 2, 1, 9, 16, 2, 1, 1])},
    }
    for folder, files in seeds.items():
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (CORPUS / folder / name).write_bytes(content)


def main():
    explicit, run = b"1.2.840.10008.1.2.1", bytes([0xE9, 7])  # 24 times 7
    grey = image(explicit, element(0x7FE00010, b"OB", b"x" * 24))
    objects = {
        "grey": grey,
        "colour": image(explicit, element(0x7FE00010, b"OW", b"x" * 72), samples=3, photometric=b"RGB"),
        "pairs": image(explicit, element(0x7FE00010, b"OB", b"x" * 48), samples=3, photometric=b"YBR_FULL_422"),
        "frames": image(explicit, element(0x7FE00010, b"OW", b"x" * 96), bits=16, frames=2),
        "bits": image(explicit, element(0x7FE00010, b"OB", b"xxx"), bits=1),
        "rle": image(b"1.2.840.10008.1.2.5", fragments(rle(run))),
        "jpeg": image(b"1.2.840.10008.1.2.4.70", fragments(b"\xff\xd8\xff\xc3", b"more"), frames=2),
    }
    for name, content in objects.items():
        for folder, before in (("data_set", b""), ("pixel_editor", bytes([1, 1, 2, 2, 9, 12, 0, 0]))):
            (CORPUS / folder).mkdir(parents=True, exist_ok=True)
            (CORPUS / folder / name).write_bytes(before + content)
    scripts = CORPUS / "anonymization_script"
    (scripts / "object").write_bytes((scripts / "functions.das").read_bytes() + b"\0" + grey)
    frames = CORPUS / "pixel_frame"
    frames.mkdir(parents=True, exist_ok=True)
    (frames / "rle").write_bytes(bytes([6, 3, 5, 0, 7, 0, 0, 0]) + rle(run))
    (frames / "rle16").write_bytes(bytes([6, 3, 5, 2, 15, 0, 0, 0]) + rle(run, run))
    (frames / "uncompressed").write_bytes(bytes([7, 3, 5, 0, 7, 0, 0, 0]) + b"x" * 24)
    sof = lambda marker: b"\xff\xd8\xff" + marker + b"\0\x0b\x08\0\x04\0\x06\x01\x01\x11\0"
    for index, marker in ((0, b"\xc0"), (1, b"\xc1"), (2, b"\xc3"), (3, b"\xc3"), (4, b"\xf7")):
        (frames / f"jpeg{index}").write_bytes(bytes([index, 3, 5, 0, 7, 0, 0, 0]) + sof(marker) + b"\xff\xd9")
    siz = struct.pack(">HHIIIIIIIIH", 41, 0, 6, 4, 0, 0, 6, 4, 0, 0, 1) + b"\x07\x01\x01"
    (frames / "jpeg2000").write_bytes(bytes([5, 3, 5, 0, 7, 0, 0, 0]) + b"\xff\x4f\xff\x51" + siz + b"\xff\xd9")

    write_messages(grey)


if __name__ == "__main__":
    main()
