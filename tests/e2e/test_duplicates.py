"""One SOP Instance UID with several contents, through both doors: what each policy makes of it, and how the difference is
told."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import Server, needs_shared, sha256, shared_folder
from test_races import data_set


def modified(folder, source, name, *changes):
    """A copy of `source` in which dcmodify made `changes`."""
    path = pathlib.Path(folder) / name
    shutil.copyfile(source, path)
    subprocess.run(["dcmodify", "-nb", "-ie", "-imt", *changes, path], check=True, capture_output=True)
    return path


class Duplicates:
    """What holds through either door; a class below each says how its objects come."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        data = shared_folder() / "data"
        cls.mr = sorted(p for p in (data / "dicom-mr-ge-mr750/mr_0004").iterdir() if p.suffix == ".dcm")[:3]
        # Another patient comment, and other pixels.
        cls.header = modified(cls.folder.name, cls.mr[0], "header.dcm", "-i", "(0020,4000)=seen again",
                              "-m", "(0018,1030)=other protocol")
        pixels = bytearray(cls.mr[0].read_bytes())
        pixels[-100] ^= 0x55
        cls.pixels = pathlib.Path(cls.folder.name) / "pixels.dcm"
        cls.pixels.write_bytes(pixels)

    def project(self, name, policy=None):
        self.server.narthex("project", "create", name)
        if policy:
            project = self.server.narthex("project", "update", name, "--duplicates", policy)
            self.assertEqual(project["duplicates"], policy.upper())
        return name

    def only(self, project):
        sessions = self.server.prearchive("--project", project)
        self.assertEqual(len(sessions), 1)
        return sessions[0]

    def archived(self, project, session):
        self.server.narthex("prearchive", "build", session)
        self.server.narthex("prearchive", "archive", session)
        found = self.server.sessions(f'project = "{project}"')
        with tempfile.TemporaryDirectory() as folder:
            self.server.narthex("session", "download", found[0]["accessionId"], "-o", folder, "--verify")
            return sorted(map(self.digest, pathlib.Path(folder).rglob("*.dcm")))

    def test_keep_tells_what_differs_and_archives_the_first(self):
        project = self.project("KEEP")
        self.send(project, *self.mr)

        header = self.send(project, self.header, code=1)[0]
        pixels = self.send(project, self.pixels, code=1)[0]
        again = self.send(project, self.mr[0])[0]

        self.assertEqual((header["outcome"], header["reason"]), ("CONFLICT", "SAME_INSTANCE"))
        self.assertIn("only the header differs: ", header["detail"])
        for name in ("ImageComments", "ProtocolName"):
            self.assertIn(name, header["detail"])
        self.assertNotIn("seen again", header["detail"])  # names, never values
        self.assertEqual(pixels["outcome"], "CONFLICT")
        self.assertIn("only the pixels differ", pixels["detail"])
        self.assertEqual((again["outcome"], again["reason"]), ("DUPLICATE", "SAME_BYTES"))
        session = self.only(project)
        self.assertEqual(session["outcomeCounts"], {"STORED": 3, "CONFLICT": 2, "DUPLICATE": 1})
        self.assertEqual(session["objectCount"], 3)
        self.server.narthex("prearchive", "build", session["name"])
        check = self.server.narthex("prearchive", "check", session["name"])
        self.assertTrue(check["archivable"], check)
        self.assertIn((20, "WARN"), [(c["code"], c["type"]) for c in check["conflicts"]])
        self.assertEqual(self.archived(project, session["name"]), sorted(map(self.digest, self.mr)))

    def test_replace_archives_the_newest_and_lists_the_older(self):
        project = self.project("REPLACE", "replace")
        self.send(project, *self.mr)

        outcome = self.send(project, self.header)[0]

        self.assertEqual((outcome["outcome"], outcome["reason"]), ("REPLACED", "SAME_INSTANCE"))
        self.assertIn("only the header differs", outcome["detail"])
        session = self.only(project)
        self.assertEqual((session["objectCount"], session["replacedCount"]), (3, 1))
        self.assertEqual(session["outcomeCounts"], {"STORED": 3, "REPLACED": 1})
        diff = self.server.narthex("prearchive", "diff", session["name"], "--instance", outcome["sopInstanceUid"])
        self.assertEqual([v["current"] for v in diff["versions"]], [False, True])
        self.assertEqual(diff["pixels"], "SAME")
        changed = {c["keyword"]: c for c in diff["changes"]}
        self.assertEqual(changed["ImageComments"]["after"], "seen again")
        # Over a crash and a start, too.
        self.server.kill()
        self.server.start()
        self.assertEqual(self.only(project)["outcomeCounts"], {"STORED": 3, "REPLACED": 1})
        expected = sorted(map(self.digest, [self.header, *self.mr[1:]]))
        self.assertEqual(self.archived(project, session["name"]), expected)

    def test_conflict_waits_for_a_person(self):
        project = self.project("CONTEST", "conflict")
        self.send(project, *self.mr)
        first = self.send(project, self.pixels, code=1)[0]
        again = self.send(project, self.pixels)[0]

        self.assertEqual((first["outcome"], again["outcome"]), ("CONFLICT", "DUPLICATE"))
        session = self.only(project)
        self.assertEqual(session["contestedCount"], 1)
        self.server.narthex("prearchive", "build", session["name"])
        check = self.server.narthex("prearchive", "check", session["name"], code=None)
        self.assertFalse(check["archivable"])
        self.assertIn((22, "CONFLICT"), [(c["code"], c["type"]) for c in check["conflicts"]])
        refused = self.server.run("prearchive", "archive", session["name"])
        self.assertEqual(refused.returncode, 1)
        self.assertIn("ARCHIVE_CONFLICT", refused.stdout + refused.stderr)
        self.assertEqual(self.only(project)["state"], "CONFLICT")
        diff = self.server.narthex("prearchive", "diff", session["name"], "--instance", first["sopInstanceUid"])
        self.assertEqual((diff["pixels"], diff.get("changes", [])), ("DIFFERENT", []))

        decided = self.server.narthex("prearchive", "update", session["name"], "--contested", "last")

        self.assertEqual((decided["state"], decided["contestedCount"]), ("READY", 0))
        expected = sorted(map(self.digest, [self.pixels, *self.mr[1:]]))
        self.assertEqual(self.archived(project, session["name"]), expected)


@needs_shared
class DuplicatesByGrpc(Duplicates, unittest.TestCase):
    digest = staticmethod(sha256)

    def send(self, project, *files, code=0, flags=()):
        answer = self.server.narthex("upload", *files, "--project", project, "--no-commit", *flags, code=code)
        return answer["outcomes"]

    def test_an_upload_overrides_the_project_and_the_project_the_site(self):
        project = self.project("OVERRIDE")
        self.server.narthex("settings", "set", "prearchive.duplicates", "replace")
        self.addCleanup(self.server.narthex, "settings", "set", "prearchive.duplicates", "keep")
        self.send(project, self.mr[0])

        by_upload = self.send(project, self.header, code=1, flags=["--duplicates", "keep"])[0]
        by_site = self.send(project, self.header)[0]
        self.server.narthex("project", "update", project, "--duplicates", "keep")
        by_project = self.send(project, self.pixels, code=1)[0]

        self.assertEqual([o["outcome"] for o in (by_upload, by_site, by_project)], ["CONFLICT", "REPLACED", "CONFLICT"])

    def encoded(self, name, *command):
        """A copy of the first image that another program encoded, under the same UIDs."""
        path = pathlib.Path(self.folder.name) / name
        subprocess.run([*command, self.mr[0], path], check=True, capture_output=True)
        return path

    def diff_after(self, project, *files):
        """What differs between the last two contents of one instance, once all came."""
        for file in files:
            outcome = self.send(project, file)[0]
        return self.server.narthex("prearchive", "diff", self.only(project)["name"], "--instance",
                                   outcome["sopInstanceUid"])

    def test_diff_decodes_what_was_encoded_without_loss(self):
        for project, copy in (("JLS", self.encoded("lossless.jls", "dcmcjpls")),
                              ("RLE", self.encoded("lossless.rle", "dcmcrle")),
                              ("JPLL", self.encoded("lossless.jpg", "dcmcjpeg"))):
            with self.subTest(project):
                diff = self.diff_after(self.project(project, "replace"), self.mr[0], copy)
                self.assertTrue(diff["transferSyntaxDiffers"])
                # The JPEG encoder writes down what it did.
                changed = {change["keyword"] for change in diff.get("changes", [])}
                self.assertEqual((diff["pixels"], changed), ("SAME", {"DerivationDescription"} if project == "JPLL" else set()))
                self.assertEqual(diff["onlyTransferSyntaxDiffers"], not changed)

    def test_diff_tells_a_lossy_copy_from_a_lossless_one(self):
        lossy = self.encoded("lossy.jpg", "dcmcjpeg", "+ee", "+un")
        diff = self.diff_after(self.project("LOSSY", "replace"), self.mr[0], lossy)
        self.assertEqual((diff["pixels"], diff["onlyTransferSyntaxDiffers"]), ("DIFFERENT", False))

    def test_diff_finds_a_flipped_bit_behind_two_encodings(self):
        flipped = pathlib.Path(self.folder.name) / "flipped.rle"
        subprocess.run(["dcmcrle", self.pixels, flipped], check=True, capture_output=True)
        diff = self.diff_after(self.project("FLIP", "replace"), self.encoded("again.jls", "dcmcjpls"), flipped)
        self.assertEqual((diff["pixels"], diff.get("changes", [])), ("DIFFERENT", []))

    def test_diff_of_real_images_of_other_encoders(self):
        """The compression samples of NEMA's working group 4: the same images, encoded by others."""
        samples = shared_folder() / "data/dicom-nema-wg04"
        for name, relation in (("J2KR/CT1_J2KR", "SAME"), ("JLSL/CT1_JLSL", "SAME"), ("RLE/CT1_RLE", "SAME"),
                               ("JPLL/MR1_JPLL", "SAME"), ("J2KR/US1_J2KR", "SAME"), ("J2KI/CT1_J2KI", "DIFFERENT"),
                               ("JLSN/MR1_JLSN", "DIFFERENT"), ("JPLY/MR1_JPLY", "DIFFERENT")):
            with self.subTest(name):
                folder, _, file = name.partition("/")
                copy = pathlib.Path(self.folder.name) / file
                shutil.copyfile(samples / name, copy)
                original = samples / "REF" / f"{file[:3]}_UNC"
                uid = subprocess.run(["dcmdump", "+P", "0008,0018", original], check=True, capture_output=True,
                                     text=True).stdout.split("[")[1].split("]")[0]
                subprocess.run(["dcmodify", "-nb", "-ie", "-imt", "-m", f"(0008,0018)={uid}", copy], check=True,
                               capture_output=True)
                study = subprocess.run(["dcmdump", "+P", "0020,000d", original], check=True, capture_output=True,
                                       text=True).stdout.split("[")[1].split("]")[0]
                subprocess.run(["dcmodify", "-nb", "-ie", "-imt", "-m", f"(0020,000d)={study}", copy], check=True,
                               capture_output=True)
                project = self.project(f"NEMA_{file}", "replace")
                self.assertEqual(self.diff_after(project, original, copy)["pixels"], relation)

    def test_diff_says_why_pixels_cannot_be_compared(self):
        damaged = pathlib.Path(self.folder.name) / "damaged.jls"
        bytes_ = self.encoded("whole.jls", "dcmcjpls").read_bytes()
        at = bytes_.index(b"\xff\xd8\xff")
        damaged.write_bytes(bytes_[:at] + bytes(64) + bytes_[at + 64:])
        diff = self.diff_after(self.project("DAMAGED", "replace"), self.mr[0], damaged)
        self.assertNotIn(diff["pixels"], ("SAME", "DIFFERENT"))
        self.assertEqual(diff["pixelsDetail"], "of the newer one, the compressed pixels are damaged")


@needs_shared
class DuplicatesByDicom(Duplicates, unittest.TestCase):
    # The file's meta information is the gateway's: what counts is the data set.
    digest = staticmethod(data_set)

    def send(self, project, *files, code=0, flags=()):
        """Their outcomes; of a conflict the sender is told by 0x0111, which DCMTK takes for a failure."""
        if project not in [r["aeTitle"] for r in self.server.narthex("receiver", "list")["receivers"]]:
            self.server.narthex("receiver", "create", project, "--project", project)
        self.server.storescu("-aec", project, "--to", *files, code=code)
        session = self.only(project)["name"]
        return self.server.narthex("prearchive", "outcomes", session)["outcomes"][-len(files):]

    def test_one_instance_in_many_transfer_syntaxes_by_dicom(self):
        """One slice uncompressed, in Implicit VR, JPEG lossless, JPEG-LS and RLE: the same SOP Instance UID."""
        project = self.project("SYNTAX")
        self.server.narthex("project", "update", project, "--duplicates", "replace")
        self.server.narthex("settings", "set", "routing.project_rules", "(0008,0060):(MR) t:MR r:SYNTAX")
        self.addCleanup(self.server.narthex, "settings", "set", "routing.project_rules", "")

        for command, proposal in ((("dcmconv", "+te"), "-xe"), (("dcmconv", "+ti"), "-xi"), (("dcmcjpeg",), "-xs"),
                                  (("dcmcjpls",), "-xt"), (("dcmcrle",), "-xr")):
            variant = pathlib.Path(self.folder.name) / f"{proposal}.dcm"
            subprocess.run([*command, self.mr[0], variant], check=True, capture_output=True)
            self.server.storescu(proposal, "--to", variant)

        session = next(s for s in self.server.prearchive() if s["project"] == project)
        self.assertEqual((session["objectCount"], session["replacedCount"]), (1, 4))
        outcomes = self.server.narthex("prearchive", "outcomes", session["name"])["outcomes"]
        self.assertEqual([o["outcome"] for o in outcomes], ["STORED"] + 4 * ["REPLACED"])
        for outcome in outcomes[1:]:
            self.assertIn("transfer syntax", outcome["detail"])
        diff = self.server.narthex("prearchive", "diff", session["name"], "--instance",
                                   outcomes[0]["sopInstanceUid"])
        self.assertTrue(diff["transferSyntaxDiffers"])
        self.assertEqual(len({v["transferSyntaxUid"] for v in diff["versions"]}), 5)
        # JPEG-LS and RLE of one image: the decoder has seen both.
        self.assertEqual((diff["pixels"], diff.get("changes", [])), ("SAME", []))
        self.assertTrue(diff["onlyTransferSyntaxDiffers"])


if __name__ == "__main__":
    unittest.main()
