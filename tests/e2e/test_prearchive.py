"""Review of what came through either door: what people change of a session holds over builds and late objects; checks;
claims; events."""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import unittest

from harness import BIN, Server, needs_shared, phantom, shared_folder
from rpc import Rpc


def as_user(server, user):
    """Runs commands as another user."""
    token = server.narthex("token", "create", "--user", user)["secret"]
    return lambda *arguments: server.run(*arguments, token=token)


class Review:
    """What holds through either door; a class below each says how its objects come."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("A", "B"):
            cls.server.narthex("project", "create", project)
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.mr = shared_folder() / "data/dicom-mr-ge-mr750"

    def staged(self, label, *series, commit=True):
        """A session of real images; -> its name."""
        name = self.send(label, *series)
        if commit:
            self.server.narthex("prearchive", "build", name)
        return name

    def show(self, name):
        return self.server.narthex("prearchive", "show", name)

    def test_edits_hold_over_rebuilds_and_late_objects(self):
        name = self.staged("EDIT1", "mr_0004", "mr_0005")
        scans = [scan["id"] for scan in self.show(name)["scans"]]
        self.server.narthex("prearchive", "update", name, "--label", "EDITED", "--date", "2001-02-03")
        self.server.narthex("prearchive", "update", name, "--scan", scans[0], "--type", "LOCALIZER", "--quality",
                            "questionable", "--note", "moved a little")
        self.server.narthex("prearchive", "update", name, "--scan", scans[1], "--exclude")

        self.staged("EDITED", "mr_0006")

        session = self.show(name)
        self.assertEqual((session["state"], session["label"], session["sessionDate"]),
                         ("READY", "EDITED", "2001-02-03"))
        by_id = {scan["id"]: scan for scan in session["scans"]}
        self.assertEqual(len(by_id), 3)
        self.assertEqual([by_id[scans[0]][k] for k in ("type", "quality", "note")],
                         ["LOCALIZER", "questionable", "moved a little"])
        self.assertTrue(by_id[scans[1]]["excluded"])
        check = self.server.narthex("prearchive", "check", name)
        self.assertTrue(check["archivable"])
        self.assertIn((20, "WARN"), [(c["code"], c["type"]) for c in check["conflicts"]])

        answer = self.server.narthex("prearchive", "archive", name)

        left_out = [{"scan": scans[1], "objectCount": by_id[scans[1]]["fileCount"]}]
        self.assertEqual(answer["leftOutScans"], left_out)
        history = self.server.narthex("session", "history", "A/EDITED")["entries"]
        self.assertIn(f"left out by review: scan {scans[1]} ({left_out[0]['objectCount']} objects)", str(history))
        archived = {s["id"]: s for s in self.server.narthex("session", "scans", "A/EDITED")["scans"]}
        self.assertEqual(set(archived), set(by_id) - {scans[1]})
        self.assertEqual((archived[scans[0]]["type"], archived[scans[0]]["quality"]), ("LOCALIZER", "questionable"))
        self.assertEqual(self.server.narthex("session", "show", "A/EDITED")["sessionDate"], "2001-02-03")

    def test_what_cannot_be_changed_says_so(self):
        name = self.staged("EDIT2", "mr_0004")

        for arguments, reason in ((("--scan", "99", "--exclude"), "SCAN_NOT_FOUND"),
                                  (("--date", "yesterday"), "INVALID_FIELD"),
                                  (("--project", "NO_SUCH"), "PROJECT_NOT_FOUND")):
            refused = self.server.run("prearchive", "update", name, *arguments)
            self.assertEqual(refused.returncode, 1, arguments)
            self.assertIn(reason, refused.stdout + refused.stderr)
        scan = self.show(name)["scans"][0]["id"]
        self.server.narthex("prearchive", "update", name, "--scan", scan, "--exclude")
        check = self.server.narthex("prearchive", "check", name, code=None)
        self.assertFalse(check["archivable"])
        self.assertIn((13, "FAIL"), [(c["code"], c["type"]) for c in check["conflicts"]])
        self.server.narthex("prearchive", "update", name, "--scan", scan, "--include")
        self.assertTrue(self.server.narthex("prearchive", "check", name)["archivable"])

    def test_moving_needs_rights_in_both_projects(self):
        name = self.staged("MOVE1", "mr_0004")
        self.server.narthex("user", "create", "mover", code=None)
        self.server.narthex("project", "member", "add", "A", "mover", "member")
        mover = as_user(self.server, "mover")

        refused = mover("prearchive", "update", name, "--project", "B")
        self.server.narthex("project", "member", "add", "B", "mover", "member")
        moved = mover("prearchive", "update", name, "--project", "B")

        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("PROJECT_NOT_FOUND", refused.stdout + refused.stderr)
        self.assertEqual(json.loads(moved.stdout)["project"], "B")

    def test_check_compares_with_the_archive(self):
        first = self.staged("CHECK1", "mr_0004")
        self.server.narthex("prearchive", "archive", first)
        again = self.staged("CHECK1", "mr_0004", "mr_0005")

        check = self.server.narthex("prearchive", "check", again, code=None)

        self.assertFalse(check["archivable"])
        codes = {(c["code"], c["type"]) for c in check["conflicts"]}
        self.assertLessEqual({(1, "CONFLICT"), (14, "CONFLICT"), (16, "CONFLICT")}, codes)
        self.assertTrue(all(c["remedy"] for c in check["conflicts"]))
        self.assertEqual(self.show(again)["state"], "READY")  # checking changes nothing
        refused = self.server.run("prearchive", "archive", again)
        self.assertIn("ARCHIVE_CONFLICT", refused.stdout + refused.stderr)
        found = {(c["code"], c["type"]) for c in self.show(again)["conflicts"]}
        self.assertEqual(found, codes)
        self.server.narthex("prearchive", "update", again, "--subject", "OTHER")
        codes = {(c["code"], c["type"]) for c in
                 self.server.narthex("prearchive", "check", again, code=None)["conflicts"]}
        self.assertIn((4, "FAIL"), codes)

    def test_a_new_subject_is_told_before_and_made_by_the_archive(self):
        for label, told in (("SUBJECT1", True), ("SUBJECT2", False)):
            name = self.staged(label, "mr_0004")
            self.server.narthex("prearchive", "update", name, "--subject", "NEWCOMER")
            check = self.server.narthex("prearchive", "check", name)
            self.assertTrue(check["archivable"])
            self.assertEqual((12, "WARN") in {(c["code"], c["type"]) for c in check["conflicts"]}, told)
            self.server.narthex("prearchive", "archive", name)
            self.assertEqual(self.server.narthex("session", "show", f"A/{label}")["subject"], "NEWCOMER")

    def test_unassigned_sessions_are_claimed_by_who_knows_them(self):
        self.arrive(sorted((self.mr / "mr_0007").glob("*.dcm")))
        unassigned = self.server.prearchive("--unassigned")
        self.assertEqual(len(unassigned), 1)
        study = unassigned[0]["studyInstanceUid"]
        self.server.narthex("user", "create", "claimer", code=None)
        claimer = as_user(self.server, "claimer")
        self.assertEqual(json.loads(claimer("prearchive", "list").stdout).get("prearchiveSessions", []), [])

        foreign = claimer("prearchive", "claim", "--project", "B", "--study", study)
        self.server.narthex("project", "member", "add", "B", "claimer", "member")
        vague = claimer("prearchive", "claim", "--project", "B", "--label", unassigned[0]["label"])
        wrong = claimer("prearchive", "claim", "--project", "B", "--study", "1.2.3")
        self.server.narthex("settings", "set", "prearchive.claim_unassigned", "off")
        off = claimer("prearchive", "claim", "--project", "B", "--study", study)
        self.server.narthex("settings", "set", "prearchive.claim_unassigned", "on")
        claimed = claimer("prearchive", "claim", "--project", "B", "--study", study)

        self.assertIn("PROJECT_NOT_FOUND", foreign.stdout + foreign.stderr)
        self.assertIn("INVALID_FIELD", vague.stdout + vague.stderr)
        self.assertIn("PREARCHIVE_SESSION_NOT_FOUND", wrong.stdout + wrong.stderr)
        self.assertIn("PERMISSION_DENIED", off.stdout + off.stderr)
        self.assertEqual(json.loads(claimed.stdout)["project"], "B")
        self.assertEqual(self.server.prearchive("--unassigned"), [])

    def test_the_signal_that_ends_reception_is_shown(self):
        name = self.staged("SIGNAL1", "mr_0004", commit=False)
        receiving = self.show(name)
        self.assertEqual((receiving["state"], receiving["awaitedSignal"], receiving["completion"]),
                         ("RECEIVING", "idle", ""))

        self.server.narthex("project", "update", "A", "--idle-build", "1")
        self.addCleanup(self.server.narthex, "project", "update", "A", "--idle-build", "0")
        self.send("SIGNAL1", "mr_0005")

        built = self.server.wait_for(lambda: (lambda s: s if s["state"] == "READY" else None)(self.show(name)), "idle")
        self.assertEqual((built["completion"], built["awaitedSignal"]), ("idle", ""))
        self.assertTrue(built["completionTime"])
        # Building again ends nothing.
        again = self.server.narthex("prearchive", "build", name)
        self.assertEqual((again["completion"], again["completionTime"]), ("idle", built["completionTime"]))
        self.server.kill()
        self.server.start()
        self.assertEqual(self.show(name)["completion"], "idle")

    def test_events_are_replayed_from_a_sequence(self):
        name = self.staged("WATCH1", "mr_0004")
        environment = dict(os.environ, NARTHEX_SERVER=self.server.address, NARTHEX_TOKEN=self.server.token)

        def watch(start):
            return subprocess.Popen([BIN / "narthex", "--output", "json", "prearchive", "watch", name, "--from",
                                     str(start)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True)

        def until_removed(process):
            events = [json.loads(line) for line in process.stdout]
            process.wait(timeout=20)
            return events

        self.server.narthex("prearchive", "delete", name)
        events = until_removed(watch(1))
        numbers = [int(event["sequence"]) for event in events]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(events[0]["prearchiveSession"]["state"], "RECEIVING")
        self.assertTrue(events[-1]["removed"])
        later = until_removed(watch(numbers[1]))
        self.assertEqual([e["sequence"] for e in later], [e["sequence"] for e in events[1:]])
        too_far = watch(10**9)
        self.assertEqual(too_far.wait(timeout=20), 1)
        self.assertIn("EVENTS_UNAVAILABLE", too_far.stdout.read() + too_far.stderr.read())

    def events(self, rpc, token, first, **request):
        """What a watcher learns from event `first` on, until nothing more comes for a while."""
        return rpc.call("PrearchiveService.WatchPrearchiveSessions", {"fromSequence": first, **request}, token,
                        timeout=1.5).reply

    def test_watchers_are_told_that_a_session_left_their_view(self):
        rpc = Rpc(self.server.address)
        self.addCleanup(rpc.close)
        tokens = {}
        for user, project in (("watcher_a", "A"), ("watcher_b", "B")):
            self.server.narthex("user", "create", user)
            self.server.narthex("project", "member", "add", project, user, "member")
            tokens[user] = self.server.narthex("token", "create", "--user", user)["secret"]
        name = self.staged("LEAVES", "mr_0004")
        first = 1
        before = self.events(rpc, tokens["watcher_a"], first, name=name)
        self.assertTrue(before)
        first = int(before[-1]["sequence"]) + 1

        self.server.narthex("prearchive", "update", name, "--project", "B", "--label", "SECRET_LABEL", "--subject",
                            "SECRET_SUBJECT")
        moved = self.show(name)
        self.server.narthex("prearchive", "delete", name)

        gone, = self.events(rpc, tokens["watcher_a"], first, name=name)
        self.assertTrue(gone["removed"] and gone["moved"])
        self.assertEqual(gone["prearchiveSession"], {"name": name, "project": "A"})  # and not where it went, as what
        # Whoever watches one project, too, whatever else they may see.
        of_a = [e for e in self.events(rpc, self.server.token, first, project="A") if
                e["prearchiveSession"]["name"] == name]
        self.assertEqual(of_a, [gone])
        of_b = self.events(rpc, tokens["watcher_b"], 1, name=name)
        self.assertEqual([e["prearchiveSession"]["label"] for e in of_b], ["SECRET_LABEL"] * len(of_b))
        self.assertEqual([e.get("removed", False) for e in of_b][-1:], [True])
        self.assertNotIn("moved", of_b[-1])
        self.assertEqual(of_b[0]["sequence"], gone["sequence"])  # the same change, from the other side
        # Who may see both, and looks at both, sees it go on.
        both = self.events(rpc, self.server.token, first, name=name)
        self.assertEqual(both[0]["prearchiveSession"]["project"], "B")
        self.assertNotIn("removed", both[0])
        self.assertEqual(moved["project"], "B")

    def test_two_archivals_of_one_label_the_older_goes_on(self):
        """Code 10: the disk is "full", so that the first one waits in the middle of its work."""
        older = self.staged("BUSY", "mr_0004")
        younger = self.staged("BUSY_TOO", "mr_0005")
        self.server.narthex("prearchive", "update", younger, "--label", "BUSY")
        self.server.narthex("settings", "set", "limits.free_space_min_bytes", str(1 << 49))
        self.addCleanup(self.server.narthex, "settings", "set", "limits.free_space_min_bytes", "")
        first = self.server.narthex("prearchive", "archive", older, "--no-wait")["name"]
        self.server.wait_for(lambda: self.show(older)["state"] == "ARCHIVING", "the first archival")

        for name in (younger, older):
            check = self.server.narthex("prearchive", "check", name, code=None)
            self.assertFalse(check["archivable"])
            busy = [c for c in check["conflicts"] if c["code"] == 10]
            self.assertEqual([c["type"] for c in busy], ["CONFLICT"])
            self.assertIn(f"narthex operation wait {first.split('/')[1]}", busy[0]["remedy"])
        refused = self.server.run("prearchive", "archive", younger)
        self.assertIn("ARCHIVE_CONFLICT", refused.stdout + refused.stderr)
        self.assertIn(10, {c["code"] for c in self.show(younger)["conflicts"]})
        second = self.server.narthex("prearchive", "archive", younger, "--conflict", "append", "--no-wait")["name"]
        self.server.narthex("settings", "set", "limits.free_space_min_bytes", "")

        for operation in (first, second):  # the one files, the other waits for it and merges
            self.server.narthex("operation", "wait", operation)
        archived = self.server.narthex("session", "show", "A/BUSY")
        self.assertEqual(archived["scanCount"], 2)
        history = str(self.server.narthex("session", "history", "A/BUSY")["entries"])
        self.assertIn("MERGE", history)

    def test_a_series_filter_holds_at_the_archive_too(self):
        """Code 22: the filter was set when the objects were here already."""
        name = self.staged("FILTER22", "mr_0004", "mr_0005")
        scans = self.show(name)["scans"]
        unwanted = scans[1]
        file = pathlib.Path(self.folder.name) / "filter.txt"
        file.write_text(f"^{re.escape(unwanted['seriesDescription'])}$\n")
        self.assertNotEqual(scans[0]["seriesDescription"], unwanted["seriesDescription"])
        self.server.narthex("filter", "set", file, "--project", "A", "--mode", "deny")
        self.server.narthex("filter", "enable", "--project", "A")
        self.addCleanup(self.server.narthex, "filter", "disable", "--project", "A")

        check = self.server.narthex("prearchive", "check", name, code=None)

        self.assertFalse(check["archivable"])
        found, = [c for c in check["conflicts"] if c["code"] == 22]
        self.assertEqual(found["type"], "FAIL")
        self.assertIn(f"{unwanted['fileCount']} objects", found["message"])
        self.assertIn("--exclude", found["remedy"])
        refused = self.server.run("prearchive", "archive", name)
        self.assertIn("ARCHIVE_CONFLICT", refused.stdout + refused.stderr)
        self.assertEqual(self.server.sessions('label = "FILTER22"'), [])
        # What the remedy says helps.
        self.server.narthex("prearchive", "update", name, "--scan", unwanted["id"], "--exclude")
        self.assertTrue(self.server.narthex("prearchive", "check", name)["archivable"])
        answer = self.server.narthex("prearchive", "archive", name)
        self.assertEqual([s["scan"] for s in answer["leftOutScans"]], [unwanted["id"]])
        self.assertEqual([s["id"] for s in self.server.narthex("session", "scans", "A/FILTER22")["scans"]],
                         [scans[0]["id"]])

    def test_what_a_merge_leaves_out_is_told_too(self):
        self.server.narthex("prearchive", "archive", self.staged("OUT", "mr_0004"))
        name = self.staged("OUT", "mr_0005", "mr_0006")
        scans = self.show(name)["scans"]
        self.server.narthex("prearchive", "update", name, "--scan", scans[0]["id"], "--exclude")

        answer = self.server.narthex("prearchive", "archive", name, "--conflict", "append")

        self.assertEqual(answer["leftOutScans"],
                         [{"scan": scans[0]["id"], "objectCount": scans[0]["fileCount"]}])
        self.assertEqual(answer["mergeResult"]["addedCount"], scans[1]["fileCount"])
        merged = str(self.server.narthex("session", "history", "A/OUT")["entries"])
        self.assertIn(f"left out by review: scan {scans[0]['id']} (", merged)

    def test_scan_types_are_remembered_if_the_project_says_so(self):
        self.server.narthex("project", "create", "TYPES")
        stage = lambda label: self.show(self.server.narthex(
            "upload", self.mr / "mr_0004", "--project", "TYPES", "--session", label, "--subject", "S1",
            "--commit")["outcomes"][0]["prearchiveSession"])
        first = stage("T1")
        scan = first["scans"][0]
        self.server.narthex("prearchive", "update", first["name"], "--scan", scan["id"], "--type", "MPRAGE")
        self.server.narthex("prearchive", "archive", first["name"])
        types = {}
        for label, site, project in (("T2", "true", "site"), ("T3", "true", "off"), ("T4", "false", "off"),
                                     ("T5", "false", "site"), ("T6", "false", "on")):
            self.server.narthex("settings", "set", "scans.use_type_mapping", site)
            shown = self.server.narthex("project", "update", "TYPES", "--scan-type-mapping", project)
            self.assertEqual(shown["scanTypeMapping"],
                             {"on": "ON", "off": "OFF", "site": "MODE_UNSPECIFIED"}[project])
            session = stage(label)
            self.server.narthex("prearchive", "archive", session["name"])
            archived, = self.server.narthex("session", "scans", f"TYPES/{label}")["scans"]
            self.assertEqual(archived["type"], session["scans"][0]["type"])
            types[label] = archived["type"]
        self.server.narthex("settings", "set", "scans.use_type_mapping", "")
        plain = scan["type"]
        self.assertEqual(types, {"T2": "MPRAGE", "T3": plain, "T4": plain, "T5": plain, "T6": "MPRAGE"})

    def test_two_senders_of_one_study_with_a_build_and_an_archive_in_between(self):
        """Whatever races, every object has one outcome and every sender's object is in the archive or waits."""
        folder = pathlib.Path(self.folder.name) / "race"
        files = phantom(folder, series=4, slices=20, size=32, project="A", session="RACE", subject="RACE_S", seed=5)
        half = pathlib.Path(self.folder.name) / "half"
        half.mkdir()
        for path in files[::2]:
            shutil.copyfile(path, half / path.name)
        errors = []

        def run(action):
            try:
                action()
            except Exception as error:  # the main thread tells
                errors.append(error)

        senders = [threading.Thread(target=run, args=(action,)) for action in (
            lambda: self.server.storescu("--to", "+sd", "+r", folder),
            lambda: self.server.storescu("--to", "+sd", "+r", half),
            lambda: self.server.narthex("upload", folder, "--project", "A", "--no-commit"))]
        for sender in senders:
            sender.start()
        mine = lambda: [s for s in self.server.prearchive("--project", "A") if s["label"] == "RACE"]
        while any(sender.is_alive() for sender in senders):
            for session in mine():
                self.server.run("prearchive", "build", session["name"])
                self.server.run("prearchive", "archive", session["name"])
        for sender in senders:
            sender.join()
        self.assertEqual(errors, [])

        self.server.check_invariants(self)
        for session in mine():
            self.server.run("prearchive", "build", session["name"])
        kept = {outcome["sopInstanceUid"] for session in mine()
                for outcome in self.server.narthex("prearchive", "outcomes", session["name"])["outcomes"]
                if outcome["outcome"] == "STORED"}
        if self.server.sessions('project = "A" AND label = "RACE"'):
            kept |= {file["instanceUid"] for file in self.server.files("A/RACE")}
        self.assertEqual(len(kept), len(files))


@needs_shared
class ReviewByGrpc(Review, unittest.TestCase):
    def arrive(self, files):
        """As the headers say."""
        self.server.narthex("upload", *files, "--no-commit")

    def send(self, label, *series, commit="--no-commit"):
        """Sends real series; the name of the session that they go to."""
        answer = self.server.narthex("upload", *[self.mr / s for s in series], "--project", "A", "--session", label,
                                     "--subject", "S1", commit, code=None)
        return answer["outcomes"][0]["prearchiveSession"]

    def staged(self, label, *series, commit=True):
        return self.send(label, *series, commit="--commit" if commit else "--no-commit")

    def test_a_commit_that_named_what_was_sent_is_a_manifest(self):
        self.assertEqual(self.show(self.staged("SIGNAL2", "mr_0004"))["completion"], "manifest")  # with a count
        rpc = Rpc(self.server.address)
        self.addCleanup(rpc.close)
        for label, request, signal in (("SIGNAL3", {}, "commit"), ("SIGNAL4", {"expectedCount": 1}, "manifest"),
                                       ("SIGNAL5", None, "manifest")):
            file = next((self.mr / "mr_0005").glob("*.dcm"))
            answer = self.server.narthex("upload", file, "--project", "A", "--session", label, "--no-commit")
            outcome = answer["outcomes"][0]
            name = outcome["prearchiveSession"]
            self.assertEqual(self.show(name)["completion"], "")
            if request is None:
                request = {"manifest": [base64.b64encode(bytes.fromhex(outcome["digest"])).decode()]}
            upload = answer["upload"]["name"]
            committed = rpc.call("UploadService.CommitUpload", {"name": upload, **request}, self.server.token)
            self.assertEqual(committed.reason, "", committed)
            built = self.server.wait_for(lambda: (lambda s: s if s["state"] == "READY" else None)(self.show(name)),
                                         "the build")
            self.assertEqual((built["completion"], built["awaitedSignal"]), (signal, ""))
            self.assertTrue(built["completionTime"])
            # What comes later opens reception again.
            late = next((self.mr / "mr_0006").glob("*.dcm"))
            self.server.narthex("upload", late, "--project", "A", "--session", label, "--no-commit")
            receiving = self.show(name)
            self.assertEqual((receiving["completion"], receiving["awaitedSignal"]), ("", "idle"))
            self.assertIsNone(receiving.get("completionTime"))
            self.server.narthex("prearchive", "build", name)
            self.assertEqual(self.show(name)["completion"], "request")


@needs_shared
class ReviewByDicom(Review, unittest.TestCase):
    def arrive(self, files):
        self.server.storescu("--to", *files)

    def send(self, label, *series):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder.name))
        files = [shutil.copy(path, folder / f"{name}_{path.name}") for name in series
                 for path in sorted((self.mr / name).glob("*.dcm"))]
        subprocess.run(["dcmodify", "-nb", "-i", f"PatientComments=Project:A Subject:S1 Session:{label}", *files], check=True,
                       capture_output=True)
        self.arrive(files)
        row = max((row for row in self.server.prearchive("--project", "A") if row["label"] == label),
                  key=lambda row: row["lastReceivedTime"])
        return row["name"]


if __name__ == "__main__":
    unittest.main()
