"""Makes seeds of the real images and of the hostile files that others crafted, which are not part of the repository.

    tests/fuzz/make_seeds.py SHARED_DATA OUT

Of each file the first 16 KiB are used, for the fuzzers in OUT/NAME: header_scanner, data_set, pixel_editor,
dimse_command (its probe of data sets), pdu_association (as the data set of a C-STORE), pixel_frame (the first frame of
compressed images) and archive_import (hostile archives, and small images in a zip and a tar). `./dev fuzz` does this.
"""

import pathlib
import struct
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from make_corpus import archives, store  # noqa: E402

HEAD = 16 << 10
FILE_MAX = 4 << 20
ARCHIVED_MAX = 40 << 10  # an image that is packed into an archive
DECODED_AS = {  # by the fuzzer's number
    "1.2.840.10008.1.2.4.50": 0, "1.2.840.10008.1.2.4.51": 1, "1.2.840.10008.1.2.4.57": 2, "1.2.840.10008.1.2.4.70": 3,
    "1.2.840.10008.1.2.4.80": 4, "1.2.840.10008.1.2.4.90": 5, "1.2.840.10008.1.2.5": 6}
FIRST_FRAGMENT = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)


def files(data):
    """Name and content of every file, those in the packed corpora of crafted objects too."""
    for path in sorted(data.glob("*/**/*")):
        if not path.is_file() or path.stat().st_size > FILE_MAX:
            continue
        yield str(path.relative_to(data)), path.read_bytes()
        if path.name.endswith(".tar.xz") and "fuzz" in str(path):
            with tarfile.open(path) as packed:
                for member in packed:
                    if member.isfile():
                        yield f"{path.name}/{member.name}", packed.extractfile(member).read()


def meta_end(content):
    """Where the data set begins, and its transfer syntax, if the file's head is as it should be."""
    if content[128:132] != b"DICM" or content[132:140] != b"\2\0\0\0UL\4\0":
        return 0, ""
    end = 144 + struct.unpack("<I", content[140:144])[0]
    at = content.find(b"\2\0\x10\0UI", 132, end)
    if at < 0 or end > len(content):
        return 0, ""
    length = struct.unpack("<H", content[at + 6:at + 8])[0]
    return end, content[at + 8:at + 8 + length].rstrip(b"\0 ").decode("ascii", "replace")


def first_frame(content):
    at = content.find(FIRST_FRAGMENT)
    if at < 0:
        return b""
    at += len(FIRST_FRAGMENT)
    for _ in range(2):  # the offset table, then the frame
        if content[at:at + 4] != b"\xfe\xff\0\xe0":
            return b""
        length = struct.unpack("<I", content[at + 4:at + 8])[0]
        value, at = content[at + 8:at + 8 + length], at + 8 + length
    return value


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make_seeds.py SHARED_DATA OUT")
    data, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    count = {}

    def seed(fuzzer, content):
        folder = out / fuzzer
        folder.mkdir(parents=True, exist_ok=True)
        count[fuzzer] = count.get(fuzzer, 0) + 1
        (folder / str(count[fuzzer])).write_bytes(content)

    for number, (name, content) in enumerate(files(data)):
        head = content[:HEAD]
        seed("header_scanner", bytes([(0, 1, 3)[number % 3]]) + head)
        if name.startswith("archives-") or name.endswith((".zip", ".tar", ".gz", ".tgz")):
            seed("archive_import", b"\x0c" + content[:4 * HEAD])
        if content[128:132] != b"DICM":
            continue
        seed("data_set", head)
        seed("pixel_editor", bytes([1, 1, 2, 2, 9, 12, 0, 0]) + head)
        end, syntax = meta_end(content)
        if end:
            seed("dimse_command", content[end:end + 2000])
            seed("pdu_association", b"\1" + store(content[end:end + HEAD]))
        frame = first_frame(content) if syntax in DECODED_AS else b""
        if 0 < len(frame) <= 4 * HEAD:
            seed("pixel_frame", bytes([DECODED_AS[syntax], 255, 255, number % 4, 7, 0, 0, 0]) + frame)
        if len(content) <= ARCHIVED_MAX and number % 8 == 0:
            for packed in archives("image.dcm", content):
                seed("archive_import", b"\x10" + packed)
    print(", ".join(f"{name} {number}" for name, number in sorted(count.items())))


if __name__ == "__main__":
    main()
