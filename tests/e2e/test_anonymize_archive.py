"""Scripts and the archive: re-sent studies find their twins under replaced UIDs, storage commitment knows objects by the UID
that their sender used, and archived sessions that move get the script of their new project, all or nothing."""

import pathlib
import shutil
import tempfile
import unittest
import xml.etree.ElementTree

import pydicom

import dimse
from harness import Server, needs_shared, sha256, shared_folder
from test_anonymize import everything
from test_merge import CATALOG, counts, verify

HASHES = """version "6.1"
(0010,0010) := subject
(0010,0020) := session
(0008,1030) := project
(0020,000D) := hashUID[(0020,000D)]
(0020,000E) := hashUID[(0020,000E)]
(0008,0018) := hashUID[(0008,0018)]
(0008,0080) := "SOMEWHERE"
"""


SERVER = Server()


def setUpModule():
    SERVER.start()
    unittest.addModuleCleanup(SERVER.__exit__)


def headers(paths):
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]


class Archive(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-anon-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.server = SERVER
        cls.images = sorted((shared_folder() / "data/dicom-mr-siemens-skyra").rglob("*.dcm"))[:5]

    def project(self, name, script=None, *flags, on_move=False):
        self.server.narthex("project", "create", name)
        if on_move:
            self.on_move(f"off,{name}=on")
        if script:
            self.script(script, "--project", name)
        if script or flags:
            return self.server.narthex("anon", "enable", "--project", name, *flags)
        return None

    def on_move(self, value):
        self.server.narthex("settings", "set", "anonymization.on_move", value)
        self.addCleanup(self.server.narthex, "settings", "set", "anonymization.on_move", "off")

    def script(self, text, *flags):
        path = self.folder / "script.das"
        path.write_text(text)
        self.server.narthex("anon", "set", path, *flags)

    def upload(self, project, label, files, *flags):
        self.server.narthex("upload", *files, "--project", project, "--subject", "S1", "--session", label, *flags)

    def staged(self, project, label):
        row, = [s for s in self.server.prearchive("--project", project) if s["label"] == label]
        self.server.narthex("prearchive", "build", row["name"])
        return row["name"]

    def download(self, reference):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        self.server.narthex("session", "download", reference, "-o", folder, "--verify")
        return sorted(folder.rglob("*.dcm"))

    def history(self, reference):
        return self.server.narthex("session", "history", reference)["entries"]


@needs_shared
class Merges(Archive):
    def test_a_resent_study_finds_its_twins_by_what_was_filed(self):
        for name, script in (("PROFILE", None), ("HASHED", HASHES), ("NEW", HASHES.replace("hashUID[(0008,0018)]", "newUID[]"))):
            with self.subTest(name):
                enabled = self.project(name, script, "--profile", "none" if script else "basic")
                self.upload(name, "E1", self.images[:3], "--archive")
                before = {f["path"]: f["sha256"] for f in self.server.files(f"{name}/E1") if f["instanceUid"]}

                self.upload(name, "E1", self.images, "--no-commit")
                again = self.staged(name, "E1")
                codes = {c["code"] for c in self.server.narthex("prearchive", "check", again)["conflicts"]}
                added = self.server.narthex("prearchive", "archive", again, "--conflict", "append")
                self.upload(name, "E1", self.images[:2], "--no-commit")
                replaced = self.server.narthex("prearchive", "archive", self.staged(name, "E1"), "--conflict", "overwrite")

                self.assertIn(14, codes)
                self.assertNotIn(5, codes)  # another study
                self.assertEqual(added["mergeResult"], counts(added=2, kept=3))
                self.assertEqual(replaced["mergeResult"], counts(replaced=2))
                files = {f["path"]: f["sha256"] for f in self.server.files(f"{name}/E1") if f["instanceUid"]}
                self.assertEqual(len(files), 5)
                self.assertGreaterEqual(len(set(before) & set(files)), 1)
                data = headers(self.download(f"{name}/E1"))
                self.assertEqual(len({d.SOPInstanceUID for d in data}), 5)
                self.assertEqual(sorted((d.SeriesNumber, d.InstanceNumber) for d in data),
                                 sorted((d.SeriesNumber, d.InstanceNumber) for d in headers(self.images)))
                # What was applied is in the history of the archival and of each merge.
                entries = [e for e in self.history(f"{name}/E1") if e["action"] in ("CREATE", "MERGE")]
                self.assertEqual(len(entries), 3)
                expected = enabled["digest"][:16] if script else "project profile basic"
                for entry in entries:
                    self.assertIn(expected, entry["comment"])

    def test_commitment_answers_by_the_uid_that_the_sender_used(self):
        self.project("COMMIT", HASHES, "--profile", "none")
        instances = [(str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in headers(self.images[:4])]
        instances.append((instances[0][0], "1.2.3.4.5"))
        uids = [uid for _, uid in instances]
        self.script('version "6.1"\n(0008,0018) := hashUID[(0008,0018)]\n(0020,000D) := hashUID[(0020,000D)]\n')
        self.addCleanup(self.server.narthex, "anon", "disable")
        self.server.narthex("anon", "enable", "--profile", "none")
        self.upload("COMMIT", "SITE", self.images[:2], "--archive")
        self.server.narthex("anon", "disable")
        self.upload("COMMIT", "PROJECT", self.images[2:4], "--archive")

        peer = dimse.requested(self.server.dicom_host, self.server.dicom_port, "NARTHEX", "CT1")
        self.addCleanup(peer.close)
        self.assertEqual(dimse.ask(peer, "1.2.3.1", instances), 0)
        event, _, committed, failed = dimse.take_report(peer)

        self.assertEqual((event, committed, failed), (2, uids[:4], {uids[4]: 0x0112}))
        dimse.release(peer)


@needs_shared
class Labels(Archive):
    def test_labels_come_from_what_the_site_script_leaves(self):
        name, number = "Rumpelstilz^Erna", "MRN 0098231"
        images = []
        for path in self.images[:2]:
            data = pydicom.dcmread(path)
            data.PatientName, data.PatientID = name, number
            images.append(self.folder / path.name)
            data.save_as(images[-1])
        self.addCleanup(self.server.narthex, "anon", "disable")
        for what, script, profile, expected in (
                ("mapped", 'version "6.1"\n(0010,0010) := "Vol7"\n(0010,0020) := concatenate["Vol", "8"]\n', "none", ("Vol7", "Vol8")),
                ("removed", 'version "6.1"\n-(0010,0010)\n-(0010,0020)\n', "none", None),
                ("profile", 'version "6.1"\n(0008,1030) := project\n', "basic", None)):
            with self.subTest(what):
                self.script(script)
                self.server.narthex("anon", "enable", "--profile", profile)
                self.server.storescu("--to", *images)
                self.server.storescu("--to", *images[:1])  # again
                sessions = self.server.prearchive()
                self.assertEqual(len(sessions), 1, sessions)
                session, = sessions
                self.assertEqual(session["objectCount"], 2)
                if expected:
                    self.assertEqual((session["subject"], session["label"]), expected)
                else:
                    self.assertRegex(session["subject"], "^anon-[0-9a-f]{16}$")
                    self.assertRegex(session["label"], "^anon-[0-9a-f]{16}$")
                    self.assertNotEqual(session["subject"], session["label"])
                texts = {name, number, name.replace("^", "_"), number.replace(" ", "_")}
                for path, data in everything(self.server.data_dir).items():
                    self.assertEqual([text for text in texts if text.encode() in data], [], path)
                self.server.narthex("prearchive", "delete", session["name"])
        # XNAT's own script keeps the labels, and so they are XNAT's.
        self.script('version "6.1"\n(0010,0010) := subject\n(0010,0020) := session\n')
        self.server.narthex("anon", "enable", "--profile", "none")
        self.server.storescu("--to", *images)
        session, = self.server.prearchive()
        clean = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
        self.assertEqual(session["subject"], clean)
        self.server.narthex("prearchive", "delete", session["name"])


@needs_shared
class Moves(Archive):
    def test_a_off_by_default_and_by_project(self):
        self.project("PLAIN")
        self.project("OFF", HASHES, "--profile", "none")
        self.upload("PLAIN", "STAYS", self.images, "--archive")
        before = sorted(f["sha256"] for f in self.server.files("PLAIN/STAYS"))

        self.server.narthex("session", "update", "PLAIN/STAYS", "--project", "OFF")

        self.assertEqual(sorted(f["sha256"] for f in self.server.files("OFF/STAYS")), before)
        self.project("EXCEPT", HASHES, "--profile", "none")
        self.on_move("on, EXCEPT=off")
        self.server.narthex("session", "update", "OFF/STAYS", "--project", "EXCEPT")
        self.assertEqual(sorted(f["sha256"] for f in self.server.files("EXCEPT/STAYS")), before)
        self.server.narthex("settings", "set", "anonymization.on_move", "EXCEPT=maybe", code=1)

    def test_b_a_moved_session_gets_the_script_of_its_new_project(self):
        self.project("FROM")
        enabled = self.project("TO", HASHES, "--profile", "basic", on_move=True)
        self.upload("FROM", "M1", self.images, "--archive")
        self.server.narthex("session", "scan", "update", "FROM/M1", self.server.narthex("session", "scans", "FROM/M1")["scans"][0]["id"],
                            "--quality", "questionable", "--note", "seen by people")
        raw = headers(self.images)
        secrets = {str(getattr(d, keyword)) for d in raw for keyword in
                   ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
        before = self.server.narthex("session", "show", "FROM/M1")

        moved = self.server.narthex("session", "update", "FROM/M1", "--project", "TO", "--subject", "S2", "--comment", "goes there")

        self.assertEqual((moved["accessionId"], moved["project"], moved["subject"]), (before["accessionId"], "TO", "S2"))
        self.assertEqual(moved["fileCount"], before["fileCount"])
        self.assertNotEqual(moved["studyInstanceUid"], before["studyInstanceUid"])
        self.assertTrue(moved["studyInstanceUid"].startswith("2.25."))
        paths = self.download("TO/M1")
        data = headers(paths)
        self.assertEqual(len(data), len(raw))
        for header in data:
            self.assertEqual((header.PatientName, header.PatientID, header.StudyDescription), ("S2", "M1", "TO"))
            self.assertEqual(header.PatientIdentityRemoved, "YES")
            codes = [item.CodeValue for item in header.DeidentificationMethodCodeSequence]
            self.assertIn(enabled["digest"][:16], codes)
            self.assertEqual(header.StudyInstanceUID, moved["studyInstanceUid"])
        pixels = {pydicom.dcmread(path).PixelData for path in self.images}
        self.assertEqual({pydicom.dcmread(path).PixelData for path in paths}, pixels)
        # Rows, catalogs, document and disk say the same, and nothing else.
        files = {f["path"]: f for f in self.server.files("TO/M1") if f["instanceUid"]}
        self.assertEqual({f["instanceUid"] for f in files.values()}, {str(d.SOPInstanceUID) for d in data})
        self.assertEqual(sorted(f["sha256"] for f in files.values()), sorted(map(sha256, paths)))
        scans = self.server.narthex("session", "scans", "TO/M1")["scans"]
        self.assertEqual({s["seriesInstanceUid"] for s in scans}, {str(d.SeriesInstanceUID) for d in data})
        self.assertIn(("questionable", "seen by people"), [(s["quality"], s.get("note")) for s in scans])
        self.assertEqual(self.server.narthex("session", "check", "TO/M1").get("findings", []), [])
        document = self.server.narthex("session", "show", "TO/M1", "--xml")
        folder, = [p for p in (self.server.data_dir / "d/archive").glob("*/arc001/*") if p.name.startswith("M1")]
        for path, content in everything(folder).items():
            self.assertEqual([text for text in secrets if text.encode() in content or text in path.name], [], path)
        self.assertEqual([text for text in secrets if text in str(document)], [])
        for catalog in folder.rglob("*_catalog.xml"):
            root = xml.etree.ElementTree.parse(catalog).getroot()
            on_disk = {f.name for f in catalog.parent.iterdir()} - {catalog.name}
            self.assertEqual({e.get("URI") for e in root.iter(f"{CATALOG}entry")}, on_disk)
        self.assertEqual([text for text in secrets if text in str(self.history("TO/M1"))], [])
        # Nor in what stands of it in the project that it left.
        kept = self.server.sql("SELECT project_id, old_row, new_row FROM session_history WHERE session_id = "
                               f"'{before['accessionId']}'")
        self.assertIn("FROM", kept)
        self.assertIn("(anonymized)", kept)
        self.assertEqual([text for text in secrets if text in kept], [])
        entry = self.history("TO/M1")[0]
        self.assertEqual(entry["action"], "MOVE")
        for text in ("goes there", enabled["digest"][:16], "project profile basic", f"{len(raw)} files"):
            self.assertIn(text, entry["comment"])

        # Another label and subject: what the script makes of them, and nothing a second time.
        renamed = self.server.narthex("session", "update", "TO/M1", "--label", "M2", "--subject", "S3")
        again = headers(self.download("TO/M2"))
        self.assertEqual({(str(d.PatientName), d.PatientID) for d in again}, {("S3", "M2")})
        self.assertEqual({d.SOPInstanceUID for d in again}, {d.SOPInstanceUID for d in data})
        self.assertEqual(renamed["studyInstanceUid"], moved["studyInstanceUid"])
        for header in again:
            codes = [item.CodeValue for item in header.DeidentificationMethodCodeSequence]
            self.assertEqual(len(codes), len(set(codes)))
        # A re-sent study is recognized after all that.
        self.upload("TO", "M2", self.images[:2], "--no-commit")
        name = self.staged("TO", "M2")
        self.server.narthex("prearchive", "update", name, "--subject", "S3")
        answer = self.server.narthex("prearchive", "archive", name, "--conflict", "append")
        self.assertEqual(answer["mergeResult"], counts(kept=2))

    def test_d_what_was_done_is_not_done_twice(self):
        self.project("ONCE", 'version "6.1"\n(0010,0010) := concatenate[(0010,0010), "x"]\n-(0008,0080)\n', "--profile", "none",
                     on_move=True)
        self.upload("ONCE", "D1", self.images, "--archive")
        before = {f["path"]: f["sha256"] for f in self.server.files("ONCE/D1")}

        self.server.narthex("session", "update", "ONCE/D1", "--label", "D2", "--subject", "S9")

        self.assertEqual({f["path"]: f["sha256"] for f in self.server.files("ONCE/D2")}, before)
        self.assertEqual(self.server.narthex("session", "show", "ONCE/D2")["subject"], "S9")

    def test_ba_a_move_that_leaves_identifiers_is_held(self):
        self.project("OPEN")
        self.project("HELD", 'version "6.1"\n(0010,0010) := subject\n', "--profile", "none", "--leftovers", "hold", on_move=True)
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        data = pydicom.dcmread(self.images[0])
        data.PatientName = "Rumpelstiltskin^Max"
        data.ImageComments = "seen with Rumpelstiltskin today"
        data.save_as(folder / "left.dcm")
        self.upload("OPEN", "L1", [folder / "left.dcm"], "--archive")
        before = {f["path"]: f["sha256"] for f in self.server.files("OPEN/L1")}

        refused = self.server.narthex("session", "update", "OPEN/L1", "--project", "HELD", code=1)

        self.assertEqual(refused["error"]["reason"], "LEFTOVERS_FOUND")
        self.assertIn("PatientName in ImageComments", refused["error"]["message"])
        self.assertNotIn("Rumpelstiltskin", str(refused))
        self.assertEqual({f["path"]: f["sha256"] for f in self.server.files("OPEN/L1")}, before)
        self.assertEqual(self.server.narthex("session", "check", "OPEN/L1").get("findings", []), [])
        self.assertEqual(list((self.server.data_dir / "d/archive").rglob(".incoming-*")), [])
        self.server.narthex("session", "update", "OPEN/L1", "--project", "HELD", "--accept-leftovers")
        self.assertIn("left: PatientName in ImageComments", self.history("HELD/L1")[0]["comment"])
        # Another label: nothing of the original is there to be found.
        self.server.narthex("session", "update", "HELD/L1", "--label", "L2")

    def test_c_what_fails_changes_nothing(self):
        self.project("HERE")
        self.project("FAILS", 'version "6.1"\n(0020,0013) = "2" ? reject[]\n(0010,0010) := "X"\n', "--profile", "none", on_move=True)
        self.upload("HERE", "F1", self.images, "--archive")
        before = {f["path"]: f["sha256"] for f in self.server.files("HERE/F1")}

        self.server.narthex("session", "update", "HERE/F1", "--project", "FAILS", code=1)

        self.assertEqual({f["path"]: f["sha256"] for f in self.server.files("HERE/F1")}, before)
        self.assertEqual(self.server.narthex("session", "check", "HERE/F1").get("findings", []), [])
        self.assertEqual(list((self.server.data_dir / "d/archive").rglob(".incoming-*")), [])


@needs_shared
class KilledMoves(Archive):
    def test_a_kill_leaves_all_or_nothing(self):
        self.project("ORIGIN")
        self.project("TARGET", HASHES, "--profile", "none", on_move=True)
        raw = {str(d.SOPInstanceUID) for d in headers(self.images)}
        for place, moved in (("move.written", False), ("files.published", False), ("files.committed", True)):
            with self.subTest(place):
                label = place.replace(".", "-")
                self.upload("ORIGIN", label, self.images, "--archive")
                before = {f["path"]: f["sha256"] for f in self.server.files(f"ORIGIN/{label}")}
                self.server.kill()
                self.server.wrapper = ["env", f"NARTHEX_CRASH_POINT={place}:1"]
                self.server.start()
                self.server.run("session", "update", f"ORIGIN/{label}", "--project", "TARGET", timeout=60)
                self.server.process.wait(timeout=60)
                self.server.wrapper = []
                self.server.start()

                reference = f"{'TARGET' if moved else 'ORIGIN'}/{label}"
                self.assertEqual(self.server.narthex("session", "check", reference).get("findings", []), [])
                data = headers(self.download(reference))
                self.assertEqual(len(data), len(self.images))
                self.assertEqual({str(d.SOPInstanceUID) for d in data}.isdisjoint(raw), moved)
                if not moved:
                    self.assertEqual({f["path"]: f["sha256"] for f in self.server.files(reference)}, before)
                    self.server.narthex("session", "update", reference, "--project", "TARGET")
                    self.assertEqual({d.StudyDescription for d in headers(self.download(f"TARGET/{label}"))}, {"TARGET"})
                self.assertEqual(list((self.server.data_dir / "d/archive").rglob(".incoming-*")), [])
        self.server.stop()
        code, text = verify(self.server)
        self.server.start()
        self.assertEqual(code, 0, text)


if __name__ == "__main__":
    unittest.main()
