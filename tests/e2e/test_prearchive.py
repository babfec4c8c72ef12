"""Review of what came through either door: what people change of a session holds over builds and late objects; checks;
claims; events."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest

from harness import BIN, Server, needs_shared, phantom, shared_folder, sha256


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

        self.server.narthex("prearchive", "archive", name)

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
