"""What archived sessions go through: changes, moves, shares, resources, quarantine, deletion, restoration, purge."""

import datetime
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as xml

from harness import Server, phantom, sha256

XNAT = "{http://nrg.wustl.edu/xnat}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"
# xnat.xsd: experimentData, subjectAssessorData, imageSessionData, mrSessionData.
SESSION_ORDER = ["sharing", "date", "time", "duration", "delay", "note", "investigator", "validation", "resources", "fields",
                 "acquisition_site", "custom_fields", "subject_ID", "age", "regions", "scanner", "operator", "prearchivePath",
                 "scans", "reconstructions", "assessors", "dcmAccessionNumber", "dcmPatientId", "dcmPatientName",
                 "dcmPatientBirthDate", "dcmPatientWeight", "coil", "fieldStrength", "marker", "stabilization"]

SCAN_ORDER = ["sharing", "image_session_ID", "note", "quality", "condition", "series_description", "series_class", "documentation",
              "scanner", "modality", "frames", "operator", "file", "validation", "startTime", "start_date",
              "requestedProcedureDescription", "protocolName", "bodyPartExamined", "custom_fields", "contrasts", "coil",
              "fieldStrength", "marker", "stabilization", "parameters"]
MR_PARAMETERS = ["voxelRes", "orientation", "subjectPosition", "fov", "matrix", "partitions", "tr", "te", "deltaTE", "ti", "flip",
                 "sequence", "origin", "imageType", "scanSequence", "seqVariant", "scanOptions", "acqType", "coil",
                 "pixelBandwidth", "diffusion", "addParam"]


class ArchiveChanges(unittest.TestCase):
    seeds = itertools.count(100)

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    def archived(self, label, project="P1", **options):
        seed = next(self.seeds)
        folder = self.folder / f"{label}-{seed}"
        files = phantom(folder, session=label, project=project, subject=label + "_S", seed=seed, slices=3, **options)
        self.server.narthex("upload", folder, "--project", project, "--archive")
        return files

    def refused(self, *arguments, reason, code=1):
        answer = self.server.narthex(*arguments, code=code)
        self.assertEqual(answer["error"]["reason"], reason, answer)
        return answer["error"]

    def history(self, reference):
        return self.server.narthex("session", "history", reference)["entries"]

    def document(self, reference):
        """The document, which must agree with what the rows say."""
        session = self.server.narthex("session", "show", reference)
        root = xml.fromstring(self.server.narthex("session", "show", reference, "--xml")["xml"])
        self.assertEqual((root.get("ID"), root.get("project"), root.get("label")),
                         (session["accessionId"], session["project"], session["label"]))
        order = [SESSION_ORDER.index(child.tag.replace(XNAT, "")) for child in root]
        self.assertEqual(order, sorted(order), [child.tag for child in root])
        datetime.date.fromisoformat(root.findtext(XNAT + "date"))
        datetime.time.fromisoformat(root.findtext(XNAT + "time"))
        for scan in root.find(XNAT + "scans"):
            self.assertRegex(scan.get(XSI), r"^xnat:\w+ScanData$")
            self.assertGreater(int(scan.findtext(XNAT + "frames")), 0)
            self.assertEqual(scan.findtext(XNAT + "image_session_ID"), session["accessionId"])
            self.order(scan, SCAN_ORDER)
            parameters = scan.find(XNAT + "parameters")
            if scan.get(XSI) == "xnat:mrScanData" and parameters is not None:
                self.order(parameters, MR_PARAMETERS)
                for name in ("tr", "te", "ti", "flip", "pixelBandwidth"):
                    float(parameters.findtext(XNAT + name, "0"))
        return root

    def order(self, element, expected):
        names = [child.tag.replace(XNAT, "") for child in element]
        self.assertEqual(sorted(names, key=expected.index), names)

    def agree(self, reference):
        answer = self.server.run("session", "check", reference)
        self.assertEqual(answer.returncode, 0, answer.stdout)

    def test_changes_are_in_rows_document_and_history(self):
        self.archived("CH1")
        show = self.server.narthex("session", "update", "P1/CH1", "--label", "CH1B", "--subject", "OTHER", "--note", "seen",
                                   "--date", "2020-02-29", "--comment", "typo")
        self.assertEqual((show["label"], show["subject"], show["note"], show["sessionDate"]),
                         ("CH1B", "OTHER", "seen", "2020-02-29"))

        last = self.history("P1/CH1B")[0]

        self.assertEqual((last["action"], last["comment"], last["user"]), ("UPDATE", "typo", "admin"))
        self.assertEqual({name: (last["before"][name], last["after"][name]) for name in ("label", "subject", "note")},
                         {"label": ("CH1", "CH1B"), "subject": ("CH1_S", "OTHER"), "note": ("", "seen")})
        self.assertEqual(last["after"]["session_date"], "2020-02-29")
        root = self.document("P1/CH1B")
        self.assertEqual(root.findtext(XNAT + "note"), "seen")
        self.assertEqual(root.findtext(XNAT + "date"), "2020-02-29")
        self.refused("session", "show", "P1/CH1", reason="SESSION_NOT_FOUND")
        self.refused("session", "update", "P1/CH1B", "--date", "tomorrow", reason="INVALID_FIELD")
        self.agree("P1/CH1B")

    def test_scans_have_type_quality_and_note(self):
        self.archived("SC1")
        scan = self.server.narthex("session", "scans", "P1/SC1")["scans"][0]["id"]

        changed = self.server.narthex("session", "scan", "update", "P1/SC1", scan, "--type", "T1", "--quality", "unusable",
                                      "--note", "moved")

        self.assertEqual((changed["type"], changed["quality"], changed["note"]), ("T1", "unusable", "moved"))
        fragment = xml.fromstring(self.server.narthex("session", "scan", "show", "P1/SC1", scan)["xml"])
        self.assertEqual((fragment.get("type"), fragment.findtext(XNAT + "quality"), fragment.get(XSI)),
                         ("T1", "unusable", "xnat:mrScanData"))
        last = self.history("P1/SC1")[0]
        self.assertEqual((last["before"][f"scans.{scan}.quality"], last["after"][f"scans.{scan}.quality"]),
                         ("usable", "unusable"))
        self.assertEqual([s["label"] for s in self.server.sessions('scans.quality = "unusable"')], ["SC1"])
        self.refused("session", "scan", "update", "P1/SC1", "99", "--type", "X", reason="SCAN_NOT_FOUND")
        self.agree("P1/SC1")

    def test_custom_fields_have_types(self):
        self.archived("CF1")
        define = lambda *words: self.server.narthex("project", "field", "set", "P1", *words)
        define("age", "--type", "integer")
        define("hand", "--type", "string", "--value", "left", "--value", "right")
        define("visit", "--type", "date", "--required")
        self.addCleanup(self.server.narthex, "project", "field", "remove", "P1", "visit")

        error = self.refused("session", "field", "set", "P1/CF1", "age=old", "visit=2024-01-31", reason="CUSTOM_FIELD")
        self.assertEqual(error["metadata"]["field"], "age")
        self.refused("session", "field", "set", "P1/CF1", "age=42", reason="CUSTOM_FIELD")  # visit is required
        self.refused("session", "field", "set", "P1/CF1", "hand=both", "visit=2024-01-31", reason="CUSTOM_FIELD")
        show = self.server.narthex("session", "field", "set", "P1/CF1", "age=42", "hand=left", "visit=2024-01-31", "free=x y")

        self.assertEqual(show["fields"], {"age": "42", "hand": "left", "visit": "2024-01-31", "free": "x y"})
        self.assertEqual([s["label"] for s in self.server.sessions("fields.age > 41")], ["CF1"])
        self.assertEqual({f.get("name"): f.text for f in self.document("P1/CF1").iter(XNAT + "field")}, show["fields"])
        self.refused("session", "field", "remove", "P1/CF1", "visit", reason="CUSTOM_FIELD")
        show = self.server.narthex("session", "field", "remove", "P1/CF1", "free")
        self.assertNotIn("free", show["fields"])
        self.assertEqual(self.history("P1/CF1")[0]["before"], {"fields.free": "x y"})
        self.refused("project", "field", "set", "P1", "bad", "--type", "integer", "--value", "x", reason="INVALID_FIELD")

    def test_moving_takes_everything_along(self):
        files = self.archived("MV1")
        before = self.server.narthex("session", "show", "P1/MV1")

        moved = self.server.narthex("session", "update", "P1/MV1", "--project", "P2")

        self.assertEqual((moved["project"], moved["subject"], moved["uid"]), ("P2", "MV1_S", before["uid"]))
        self.refused("session", "show", "P1/MV1", reason="SESSION_NOT_FOUND")
        self.assertEqual(sorted(f["sha256"] for f in self.server.files("P2/MV1")), sorted(map(sha256, files)))
        out = self.folder / "mv1"
        self.server.narthex("session", "download", "P2/MV1", "-o", out, "--verify")
        self.assertEqual(len([p for p in out.rglob("*") if p.is_file()]), len(files))
        last = self.history("P2/MV1")[0]
        self.assertEqual((last["action"], last["before"]["project_id"], last["after"]["project_id"]), ("MOVE", "P1", "P2"))
        self.assertEqual([entry["action"] for entry in self.history("P2/MV1")], ["MOVE", "CREATE"])
        self.document("P2/MV1")
        self.agree("P2/MV1")
        self.archived("MV1")  # the label is free where it was; its files lie beside the former ones
        self.refused("session", "update", "P2/MV1", "--project", "P1", reason="SESSION_EXISTS")
        self.refused("session", "update", "P2/MV1", "--project", "NONE", reason="PROJECT_NOT_FOUND")
        self.agree("P1/MV1")

    def test_a_shared_session_is_found_in_both_projects(self):
        self.archived("SH1")
        self.archived("SH2", project="P2")
        self.refused("session", "share", "P1/SH1", "P2", "--label", "SH2", reason="SESSION_EXISTS")

        shared = self.server.narthex("session", "share", "P1/SH1", "P2", "--label", "THERE")

        self.assertEqual(shared["shares"], [{"project": "P2", "label": "THERE"}])
        self.assertEqual(self.server.narthex("session", "show", "P2/THERE")["accessionId"], shared["accessionId"])
        self.assertIn("SH1", [s["label"] for s in self.server.sessions('project = "P2"')])
        self.assertEqual([s["label"] for s in self.server.sessions('label = "SH1"')], ["SH1"])  # once
        share = self.document("P1/SH1").find(f"{XNAT}sharing/{XNAT}share")
        self.assertEqual((share.get("project"), share.get("label")), ("P2", "THERE"))
        self.refused("session", "update", "P2/SH2", "--label", "THERE", reason="SESSION_EXISTS")
        self.refused("session", "share", "P1/SH1", "P2", "--label", "AGAIN", reason="SESSION_SHARED")
        self.agree("P1/SH1")
        self.server.narthex("session", "unshare", "P1/SH1", "P2")
        self.refused("session", "show", "P2/THERE", reason="SESSION_NOT_FOUND")
        self.assertEqual([e["action"] for e in self.history("P1/SH1")], ["UNSHARE", "SHARE", "CREATE"])

    def test_resources_hold_any_files(self):
        self.archived("RS1")
        scan = self.server.narthex("session", "scans", "P1/RS1")["scans"][0]["id"]
        notes = self.folder / "notes"
        (notes / "sub").mkdir(parents=True)
        (notes / "a.txt").write_text("one")
        (notes / "sub/b c.json").write_bytes(os.urandom(3_000_000))

        added = self.server.narthex("session", "resource", "add", "P1/RS1", "NOTES", notes, "--format", "TXT")
        self.server.narthex("session", "resource", "add", "P1/RS1", "NIFTI", notes / "a.txt", "--scan", scan)

        self.assertEqual(sorted(f["path"] for f in added["files"]),
                         ["RESOURCES/NOTES/a.txt", "RESOURCES/NOTES/sub/b_c.json"])
        self.assertEqual({f["sha256"] for f in added["files"]}, {sha256(p) for p in notes.rglob("*") if p.is_file()})
        listed = {(r["scan"], r["label"]): r["fileCount"]
                  for r in self.server.narthex("session", "resource", "list", "P1/RS1")["resources"]}
        self.assertEqual((listed[("", "NOTES")], listed[(scan, "NIFTI")]), (2, 1))
        self.assertEqual(len(self.server.narthex("session", "files", "P1/RS1", "--resource", "NOTES")["files"]), 2)
        self.agree("P1/RS1")
        root = self.document("P1/RS1")
        self.assertEqual(root.find(f"{XNAT}resources/{XNAT}resource").get("file_count"), "2")
        # All or nothing: the second file is there already.
        more = self.folder / "more"
        more.mkdir()
        (more / "0.txt").write_text("new")
        shutil.copy(notes / "a.txt", more / "A.TXT")
        self.refused("session", "resource", "add", "P1/RS1", "NOTES", more, reason="RESOURCE_FILE_EXISTS")
        self.refused("session", "resource", "add", "P1/RS1", "DICOM", more, "--scan", scan, reason="RESOURCE_PROTECTED")
        self.refused("session", "resource", "add", "P1/RS1", "X", more, "--scan", "99", reason="SCAN_NOT_FOUND")
        self.agree("P1/RS1")

        removed = self.server.narthex("session", "resource", "remove", "P1/RS1", "NOTES", "a.txt")

        self.assertEqual(removed["fileCount"], 1)
        self.agree("P1/RS1")
        self.server.narthex("session", "resource", "add", "P1/RS1", "NOTES", notes / "a.txt")  # its name is free again
        self.server.narthex("session", "resource", "remove", "P1/RS1", "NOTES")
        self.assertNotIn("NOTES", [r["label"] for r in self.server.narthex("session", "resource", "list", "P1/RS1")["resources"]])
        self.agree("P1/RS1")
        kept = list((self.server.data_dir / "d/archive/P1/arc001/RS1/.removed").rglob("a.txt"))
        self.assertEqual([path.read_text() for path in kept], ["one", "one"])
        last = self.history("P1/RS1")[0]
        self.assertEqual((last["action"], last["after"]["resources.NOTES"]), ("RESOURCE_REMOVE", ""))
        self.refused("session", "resource", "remove", "P1/RS1", "NOTES", reason="RESOURCE_NOT_FOUND")

    def test_quarantine_and_lock(self):
        self.server.narthex("project", "create", "PQ", "--quarantine", "on")
        self.archived("QU1", project="PQ")
        self.assertEqual(self.server.narthex("session", "show", "PQ/QU1")["status"], "QUARANTINE")

        self.server.narthex("session", "activate", "PQ/QU1", "--comment", "checked")
        self.server.narthex("session", "quarantine", "PQ/QU1")
        self.server.narthex("session", "activate", "PQ/QU1")

        steps = [(e["before"].get("status"), e["after"].get("status")) for e in self.history("PQ/QU1")[:3]]
        self.assertEqual(steps, [("QUARANTINE", "ACTIVE"), ("ACTIVE", "QUARANTINE"), ("QUARANTINE", "ACTIVE")])
        self.server.narthex("session", "lock", "PQ/QU1")
        for command in (["update", "PQ/QU1", "--label", "X"], ["delete", "PQ/QU1"], ["quarantine", "PQ/QU1"]):
            self.refused("session", *command, reason="SESSION_NOT_ACTIVE")
        self.assertEqual(self.server.narthex("session", "unlock", "PQ/QU1")["status"], "ACTIVE")

    def test_deleting_destroys_nothing_and_restoring_brings_it_back(self):
        files = self.archived("DE1")
        session = self.server.narthex("session", "show", "P1/DE1")
        self.server.narthex("session", "quarantine", "P1/DE1")

        self.server.narthex("session", "delete", "P1/DE1", "--comment", "mistake")

        self.refused("session", "show", "P1/DE1", reason="SESSION_NOT_FOUND")
        self.refused("session", "download", "P1/DE1", "-o", self.folder / "no", reason="SESSION_NOT_FOUND")
        self.assertNotIn("DE1", [s["label"] for s in self.server.sessions()])
        # Who wants it back finds it by its status.
        self.assertEqual([s["accessionId"] for s in self.server.sessions('status = "DELETED" AND label = "DE1"')],
                         [session["accessionId"]])
        self.assertNotIn("DE1", [s["label"] for s in self.server.sessions('status != "DELETED"')])
        self.server.narthex("user", "create", "deleter")
        token = self.server.narthex("token", "create", "--user", "deleter")["secret"]
        for role, seen in (("member", 0), ("owner", 1)):
            self.server.narthex("project", "member", "add", "P1", "deleter", role)
            found = json.loads(self.server.run("session", "search", 'status = "DELETED" AND label = "DE1"', token=token).stdout)
            self.assertEqual((found["totalSize"], len(found.get("sessions", []))), (seen, seen), role)
            listed = self.server.run("session", "files", session["accessionId"], token=token)
            self.assertEqual(listed.returncode, 0 if seen else 1)
        self.assertEqual(self.history(session["accessionId"])[0]["after"]["status"], "DELETED")
        self.archived("DE1", modality="CT")  # the label is free
        error = self.refused("session", "restore", session["accessionId"], reason="SESSION_EXISTS")
        self.assertIn("--label", error["message"])
        restored = self.server.narthex("session", "restore", session["accessionId"], "--label", "DE1_OLD")

        self.assertEqual((restored["label"], restored["status"]), ("DE1_OLD", "QUARANTINE"))  # as it was
        self.assertEqual(sorted(f["sha256"] for f in self.server.files("P1/DE1_OLD")), sorted(map(sha256, files)))
        self.document("P1/DE1_OLD")
        self.agree("P1/DE1_OLD")

    def test_purging_removes_files_and_leaves_the_record(self):
        files = self.archived("PU1")
        session = self.server.narthex("session", "show", "P1/PU1")["accessionId"]
        folder = self.server.data_dir / "d/archive/P1/arc001/PU1"
        self.assertTrue(folder.exists())
        rows = sorted((f["path"], f["sha256"]) for f in self.server.files(session))
        self.refused("session", "purge", session, "--confirm", session, reason="SESSION_NOT_DELETED")
        self.server.narthex("session", "delete", session)
        self.refused("session", "purge", session, "--confirm", "P1/PU1", reason="CONFIRMATION_MISMATCH")
        self.assertTrue(folder.exists())

        purged = self.server.narthex("session", "purge", session, "--confirm", session, "--comment", "consent withdrawn")

        manifest = hashlib.sha256("\n".join(f"{digest}  {path}" for path, digest in rows).encode()).hexdigest()
        self.assertEqual((purged["fileCount"], purged["manifestSha256"]), (len(files), manifest))
        self.assertFalse(folder.exists())
        end, begin = self.history(session)[:2]
        self.assertEqual((end["action"], begin["action"], begin["comment"]), ("PURGE", "PURGE_BEGIN", "consent withdrawn"))
        self.assertEqual(end["before"]["purge.manifest_sha256"], manifest)
        self.refused("session", "restore", session, reason="SESSION_PURGED")
        # The record of what was there.
        self.assertEqual(sorted((f["path"], f["sha256"]) for f in self.server.files(session)), rows)
        self.assertTrue(self.server.narthex("session", "scans", session)["scans"])
        found = self.server.sessions(f'status = "DELETED" AND accessionId = "{session}"')
        self.assertEqual([s["purged"] for s in found], [True])
        self.assertEqual(self.server.narthex("session", "purge", session, "--confirm", session)["fileCount"], len(files))
        self.archived("PU1", modality="CT")
        self.agree("P1/PU1")


class Interrupted(unittest.TestCase):
    def test_a_purge_and_a_resource_that_a_crash_cut_off(self):
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            server.narthex("project", "create", "P1")
            phantom(folder / "a", session="X1", slices=3)
            server.narthex("upload", folder / "a", "--project", "P1", "--archive")
            session = server.narthex("session", "show", "P1/X1")["accessionId"]
            (folder / "big.bin").write_bytes(os.urandom(40_000_000))
            # The client dies in the middle of its stream: nothing of it stays, and nobody is kept waiting.
            client = subprocess.Popen([str(server_binary()), "session", "resource", "add", "P1/X1", "BIG", str(folder / "big.bin")],
                                      env=dict(os.environ, NARTHEX_SERVER=server.address, NARTHEX_TOKEN=server.token),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            arc = server.data_dir / "d/archive/P1/arc001"
            server.wait_for(lambda: client.poll() is not None or list(arc.glob(".incoming-res-*")), "the stream", timeout=20)
            client.kill()
            client.wait()
            # The server dies while it removes files: the mark is in the database, the files are half gone.
            server.narthex("session", "delete", session)
            mark_purging(server, session)
            server.kill()
            server.start()

            self.assertFalse((arc / "X1").exists())
            self.assertFalse(list(arc.glob(".incoming-res-*")))
            history = server.narthex("session", "history", session)["entries"]
            self.assertEqual([e["action"] for e in history[:1]], ["PURGE"])


def server_binary():
    from harness import BIN
    return BIN / "narthex"


def mark_purging(server, session):
    """What BeginPurge commits, as a server that dies right after it leaves it."""
    server.sql("SET narthex.system = 'on'; UPDATE sessions SET purge_state = 'PURGING', version = version + 1 "
               f"WHERE session_id = '{session}'")


if __name__ == "__main__":
    unittest.main()
