"""Rectangles of pixels that scripts blank, from the outside: real images of all kinds through both doors. What is staged
and what is archived is blank in the rectangle and as it was everywhere else."""

import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

import pydicom

from harness import Server, needs_shared, shared_folder

LEFT, TOP, RIGHT, BOTTOM, FILL = 10, 5, 59, 24, 7
RULE = f'alterPixels["rectangle", "l={LEFT}, t={TOP}, r={RIGHT}, b={BOTTOM}", "solid", "v={FILL}"]\n'
SITE_SCRIPT = f'version "6.6"\n(0008,0060) != "PT" ? {RULE}'
EXPLICIT = "1.2.840.10008.1.2.1"

# The image, how to propose it, and what its pixels are: those of another file, or what a program of DCMTK decodes.
CASES = {
    "grey16": ("dicom-nema-wg04/REF/CT1_UNC", (), None),
    "frames": ("dicom-mr-enhanced-multiframe/Siemens/XA10/6_1.dcm", (), None),
    "rgb": ("dicom-nema-wg04/REF/US1_UNC", (), None),
    "ybr422": ("dicom-pydicom-testfiles/test_files/SC_ybr_full_422_uncompressed.dcm", (), None),
    "implicit": ("dicom-burnedin-pixels/2_ORIGINAL.dcm", ("-xi",), None),
    "jpeg": ("dicom-nema-wg04/JPLL/MR1_JPLL", ("-xs",), "dicom-nema-wg04/REF/MR1_UNC"),
    "jpegls": ("dicom-nema-wg04/JLSL/CT1_JLSL", ("-xt",), "dicom-nema-wg04/REF/CT1_UNC"),
    "jpeg2000": ("dicom-nema-wg04/J2KR/US1_J2KR", ("-xv",), "dicom-nema-wg04/REF/US1_UNC"),
    "rle": ("dicom-nema-wg04/RLE/VL1_RLE", ("-xr",), "dicom-nema-wg04/REF/VL1_UNC"),
    "rleframes": ("dicom-pydicom-testfiles/test_files/SC_rgb_rle_2frame.dcm", ("-xr",), "dcmdrle"),
    "lossy": ("dicom-burnedin-pixels/ctbrain1.dcm", ("-xy",), "dcmdjpeg"),
}
UNTOUCHED = ("dicom-petct-ge-discovery-tcia/pt_ac/0041.dcm", ("-xt",))


def staged_objects(folder):
    """{SOP Instance UID: bytes} of every object in the segments below a folder (docs/formats/segment.md)."""
    parts = {}
    for path in sorted(folder.rglob("*.seg")):
        data = path.read_bytes()
        at = 0
        while data[at:at + 8] == b"NXSEGREC":
            epoch, number = struct.unpack_from("<QQ", data, at + 16)
            offset, size, _, meta = struct.unpack_from("<QIII", data, at + 72)
            parts.setdefault((epoch, number), []).append((offset, data[at + 192:at + 192 + size]))
            at = (at + 192 + size + meta + 4095) // 4096 * 4096
    found = {}
    for pieces in parts.values():
        content = b"".join(piece for _, piece in sorted(pieces))
        found[uid_of(content)] = content
    return found


def read(content):
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(content), force=True)


def uid_of(content):
    return str(read(content).SOPInstanceUID)


def blanked(image, pixels):
    """What the uncompressed pixels of `image` must become."""
    out = bytearray(pixels)
    columns, rows = image.Columns, image.Rows
    if image.get("PhotometricInterpretation") == "YBR_FULL_422":  # Y Y Cb Cr for two pixels
        line = columns * 2
        span = bytes([FILL, FILL, 128, 128]) * ((RIGHT - LEFT + 1) // 2)
        start = LEFT * 2
    else:
        cell = image.BitsAllocated // 8 * image.SamplesPerPixel
        line = columns * cell
        span = FILL.to_bytes(image.BitsAllocated // 8, "little") * image.SamplesPerPixel * (RIGHT - LEFT + 1)
        start = LEFT * cell
    for frame in range(int(image.get("NumberOfFrames") or 1)):
        for row in range(TOP, BOTTOM + 1):
            at = (frame * rows + row) * line + start
            out[at:at + len(span)] = span
    return bytes(out)


@needs_shared
class PixelRules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-pixels-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for project in ("GRPC", "DIMSE", "LATER", "LEFT", "HOSTILE"):
            cls.server.narthex("project", "create", project)

    def setUp(self):
        self.server.narthex("anon", "disable")

    def put_in_force(self, text, *flags):
        path = self.folder / "script.das"
        path.write_text(text)
        self.server.narthex("anon", "set", path, *[f for f in flags if f != "--leftovers" and f not in ("report", "hold")])
        self.server.narthex("anon", "enable", *flags)

    def image(self, name):
        return shared_folder() / "data" / name

    def pixels_of(self, source, reference):
        """The samples as somebody else decodes them."""
        if reference is None:
            return pydicom.dcmread(source).PixelData
        if not reference.startswith("dcmd"):
            return pydicom.dcmread(self.image(reference)).PixelData
        target = self.folder / "decoded.dcm"
        subprocess.run([reference, source, target], check=True, capture_output=True)
        return pydicom.dcmread(target).PixelData

    def expect_blank(self, name, content):
        path, _, reference = CASES[name]
        before, after = pydicom.dcmread(self.image(path)), read(content)
        compressed = before.file_meta.TransferSyntaxUID.is_compressed
        expected = EXPLICIT if compressed else before.file_meta.TransferSyntaxUID
        self.assertEqual(after.file_meta.TransferSyntaxUID, expected, name)
        size = after.Rows * after.Columns * after.SamplesPerPixel * after.BitsAllocated // 8
        size *= int(after.get("NumberOfFrames") or 1)
        if after.PhotometricInterpretation == "YBR_FULL_422":
            size = size * 2 // 3
        wanted = blanked(after, self.pixels_of(self.image(path), reference)[:size])
        self.assertEqual(len(after.PixelData), size + size % 2, name)
        # Not assertEqual: it would print a megabyte.
        self.assertTrue(bytes(after.PixelData[:size]) == wanted, f"{name}: other pixels than those of the rectangle differ")
        self.assertEqual(after.BurnedInAnnotation, "NO", name)
        self.assertIn("113101", [item.CodeValue for item in after.DeidentificationMethodCodeSequence], name)
        self.assertNotIn("IconImageSequence", after)
        if compressed and after.SamplesPerPixel == 3:
            self.assertEqual((after.PhotometricInterpretation, after.PlanarConfiguration), ("RGB", 0), name)

    def expect_untouched(self, content):
        before, after = pydicom.dcmread(self.image(UNTOUCHED[0])), read(content)
        self.assertEqual(after.file_meta.TransferSyntaxUID, before.file_meta.TransferSyntaxUID)
        for tag in set(before.keys()) | set(after.keys()):
            if tag.group == 0x0012 or tag.element == 0:  # the record of the script; a group's length
                continue
            old, new = before.get_item(tag), after.get_item(tag)
            self.assertEqual((old.VR, old.value), (new.VR, new.value), tag)
        # It was de-identified once, its pixels as well; this time only the script's own code is added.
        codes = [[item.CodeValue for item in image.DeidentificationMethodCodeSequence] for image in (before, after)]
        self.assertEqual(codes[1][:-1], codes[0])

    def archived(self, project, label):
        """{SOP Instance UID: bytes} of a session's files."""
        files = [path for path in (self.server.data_dir / "d/archive").rglob("*.dcm")
                 if project in path.parts and label in path.parts]
        return {uid_of(content): content for content in map(pathlib.Path.read_bytes, files)}

    def staged(self):
        return staged_objects(self.server.data_dir / "d/staging")

    def archive(self, session, project, label):
        self.server.narthex("prearchive", "update", session["name"], "--project", project, "--subject", "S", "--label", label)
        if session["state"] == "RECEIVING":
            self.server.narthex("prearchive", "build", session["name"])
        self.server.narthex("prearchive", "archive", session["name"])
        return self.archived(project, label)

    def test_a_uploads(self):
        self.put_in_force(SITE_SCRIPT)
        originals = {}
        for name, (path, _, _) in CASES.items():
            answer = self.server.narthex("upload", self.image(path), "--project", "GRPC", "--subject", "S", "--session", name)
            self.assertEqual([o["outcome"] for o in answer["outcomes"]], ["STORED"], name)
            originals[name] = str(pydicom.dcmread(self.image(path), stop_before_pixels=True).SOPInstanceUID)
        self.server.narthex("upload", self.image(UNTOUCHED[0]), "--project", "GRPC", "--subject", "S", "--session", "pt")

        staged = self.staged()

        for name, uid in originals.items():
            self.expect_blank(name, staged[uid])
        for session in self.server.prearchive("--project", "GRPC"):
            self.server.narthex("prearchive", "archive", session["name"])
        for name, uid in originals.items():
            # Nothing happens to it on its way out of staging.
            self.assertTrue(self.archived("GRPC", name)[uid] == staged[uid], name)
        [content] = self.archived("GRPC", "pt").values()
        self.expect_untouched(content)

    def test_b_pushes(self):
        self.put_in_force(SITE_SCRIPT)
        originals = {}
        for name, (path, options, _) in CASES.items():
            self.server.storescu(*options, "--to", self.image(path))
            originals[str(pydicom.dcmread(self.image(path), stop_before_pixels=True).SOPInstanceUID)] = name
        self.server.storescu(*UNTOUCHED[1], "--to", self.image(UNTOUCHED[0]))

        staged = self.staged()

        for uid, name in originals.items():
            self.expect_blank(name, staged[uid])
        archived = {}
        for number, session in enumerate(s for s in self.server.prearchive() if s["source"] == "dicom"):
            archived.update(self.archive(session, "DIMSE", f"E{number}"))
        for uid, name in originals.items():
            self.assertTrue(archived.pop(uid) == staged[uid], name)
        [content] = archived.values()
        self.expect_untouched(content)

    def test_c_a_projects_rule_works_on_the_way_into_the_archive(self):
        script = self.folder / "project.das"
        script.write_text(SITE_SCRIPT)
        self.server.narthex("anon", "set", script, "--project", "LATER")
        self.server.narthex("anon", "enable", "--project", "LATER")
        chosen = ("grey16", "frames", "ybr422", "jpeg2000", "rle", "rleframes", "lossy")
        for name in chosen:
            path = self.image(CASES[name][0])
            self.server.narthex("upload", path, "--project", "LATER", "--subject", "S", "--session", name)
        self.server.narthex("upload", self.image(UNTOUCHED[0]), "--project", "LATER", "--subject", "S", "--session", "pt")
        staged = self.staged()
        for name in chosen:  # what came, until the archive has it
            path = self.image(CASES[name][0])
            self.assertTrue(staged[uid_of(path.read_bytes())] == path.read_bytes(), name)

        for session in self.server.prearchive("--project", "LATER"):
            self.server.narthex("prearchive", "archive", session["name"])

        for name in chosen:
            [content] = self.archived("LATER", name).values()
            self.expect_blank(name, content)
        [content] = self.archived("LATER", "pt").values()
        self.expect_untouched(content)

    def hostile(self):
        """Compressed pixels that no decoder should trust."""
        folder = self.folder / "hostile"
        folder.mkdir(exist_ok=True)
        for number, name in enumerate(("jpeg", "jpegls", "jpeg2000", "rle", "lossy")):
            image = pydicom.dcmread(self.image(CASES[name][0]))
            frame = bytearray(next(pydicom.encaps.generate_pixel_data_frame(image.PixelData, 1)))
            if name == "rle":
                frame[0:8] = struct.pack("<II", 15, 0xFFFFFFF0)  # more segments than samples, far away
            else:
                for at in range(len(frame) // 2, len(frame) // 2 + 400, 3):
                    frame[at] = frame[at] ^ 0xA5
                frame = frame[:len(frame) * 3 // 4]
            image.PixelData = pydicom.encaps.encapsulate([bytes(frame)])
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.9990{number}"
            image.StudyInstanceUID = "2.25.9991"
            path = folder / f"{name}.dcm"
            image.save_as(path)
            yield name, path

    def test_d_hostile_pixels_are_refused_with_the_reason(self):
        self.put_in_force(SITE_SCRIPT)
        before = set(self.staged())
        refused = 0
        for name, path in self.hostile():
            answer = self.server.narthex("upload", path, "--project", "HOSTILE", "--subject", "S", "--session", name, code=None)
            [outcome] = answer["outcomes"]
            pushed = self.server.storescu("-v", *CASES[name][1], "--to", path, code=None)
            if outcome["outcome"] == "STORED":  # damage that the codec can bear: then it is decoded
                self.assertEqual(read(self.staged()[str(read(path.read_bytes()).SOPInstanceUID)])
                                 .file_meta.TransferSyntaxUID, EXPLICIT, name)
                continue
            self.assertEqual((outcome["outcome"], outcome["reason"]), ("REJECTED", "PIXEL_DECODING_FAILED"), name)
            self.assertRegex(pushed.stdout + pushed.stderr, r"Store (Response|Failed).*(Error|Refused|Failed|0x[AC])", name)
            refused += 1
        self.assertGreaterEqual(refused, 4)
        self.assertIsNone(self.server.process.poll())
        self.assertLessEqual(len(set(self.staged()) - before), 5 - refused)
        # And goes on.
        path = self.image(CASES["jpeg"][0])
        answer = self.server.narthex("upload", path, "--project", "HOSTILE", "--subject", "S", "--session", "AFTER")
        self.assertEqual([o["outcome"] for o in answer["outcomes"]], ["STORED"])

    def with_tail(self, name, number):
        """A real image whose patient also stands behind the pixels."""
        image = pydicom.dcmread(self.image(CASES[name][0]))
        image.PatientName = "Rumpelstiltskin^Max"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.9980{number}"
        image.StudyInstanceUID = f"2.25.9981{number}"
        block = image.private_block(0x7FE1, "ACME TAIL", create=True)
        block.add_new(0x01, "LO", "of Rumpelstiltskin")
        image.add_new(0xFFFCFFFC, "OB", b"Rumpelstiltskin again ")
        path = self.folder / f"tail{number}.dcm"
        image.save_as(path)
        return path

    def test_e_what_stands_behind_the_pixels_is_searched(self):
        script = self.folder / "name.das"
        script.write_text('version "6.6"\n(0010,0010) := subject\n')
        self.server.narthex("anon", "set", script, "--project", "LEFT")
        self.server.narthex("anon", "enable", "--project", "LEFT", "--leftovers", "hold")
        for number, name in enumerate(("grey16", "rle", "rgb")):
            path = self.with_tail(name, number)
            self.server.narthex("upload", path, "--project", "LEFT", "--subject", "S", "--session", name)
            session = next(s for s in self.server.prearchive("--project", "LEFT") if s["label"] == name)

            previewed = self.server.narthex("anon", "preview", script, "--project", "LEFT", "--prearchive", session["name"])
            self.server.narthex("prearchive", "archive", session["name"], code=1)

            held = self.server.narthex("prearchive", "show", session["name"])
            found = {(l["source"], l["path"]) for l in held["leftovers"]}
            self.assertLessEqual({("PatientName", "(7FE1,1001)"), ("PatientName", "(FFFC,FFFC)")}, found, name)
            self.assertEqual({(l["source"], l["path"]) for l in previewed["leftovers"]}, found, name)
            self.assertEqual(held["state"], "CONFLICT")
            self.assertNotIn("Rumpelstiltskin", str(held))
        # At arrival as well.
        self.put_in_force('version "6.6"\n(0010,0010) := subject\n', "--leftovers", "hold")
        path = self.with_tail("jpegls", 7)
        self.server.narthex("upload", path, "--project", "DIMSE", "--subject", "S", "--session", "TAIL")
        session = next(s for s in self.server.prearchive("--project", "DIMSE") if s["label"] == "TAIL")
        self.server.narthex("prearchive", "archive", session["name"], code=1)
        found = {l["path"] for l in self.server.narthex("prearchive", "show", session["name"])["leftovers"]}
        self.assertLessEqual({"(7FE1,1001)", "(FFFC,FFFC)"}, found)


if __name__ == "__main__":
    unittest.main()
