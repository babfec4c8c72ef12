"""Custom fields of subjects and projects: types, rights, search, history and audit. Those of sessions are in test_archive_changes.py."""

import json
import tempfile
import threading
import unittest
import uuid

from harness import Server, phantom
from rpc import Rpc


class CustomFields(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--dicom-listen", "off"])
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        run = cls.server.narthex
        for project, accessibility in (("P1", "private"), ("P2", "protected")):
            run("project", "create", project, "--accessibility", accessibility)
        cls.tokens = {"admin": cls.server.token}
        for user, role in (("owner", "owner"), ("member", "member"), ("reader", "collaborator"), ("outsider", None)):
            run("user", "create", user)
            cls.tokens[user] = run("token", "create", "--user", user)["secret"]
            for project in ("P1", "P2") if role else ():
                run("project", "member", "add", project, user, role)
        with tempfile.TemporaryDirectory() as folder:
            for number, (project, subject) in enumerate((("P1", "A"), ("P1", "B"), ("P2", "A"))):
                phantom(f"{folder}/{number}", project=project, subject=subject, session=f"E{number}", series=1, slices=1, size=16,
                        seed=number)
            run("upload", folder, "--archive")
        cls.rpc = Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    def refused(self, *words, reason):
        error = self.server.narthex(*words, code=1)["error"]
        self.assertEqual(error["reason"], reason, error)
        return error

    def found(self, text, order="label", user="admin"):
        result = self.server.run("session", "search", text, "--order-by", order, token=self.tokens[user])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        answer = json.loads(result.stdout)
        self.assertEqual(answer["totalSize"], len(answer.get("sessions", ())))
        return [session["label"] for session in answer.get("sessions", ())]

    def audit(self, action):
        lines = self.server.run("server", "export-audit", "--project", "P1", "--format", "fhir").stdout.splitlines()
        return [line for line in lines if action in line]

    def test_fields_of_subjects_have_types_of_their_own(self):
        run = self.server.narthex
        # One name, three holders, three types.
        for holder, kind in (("session", "date"), ("subject", "integer"), ("project", "boolean")):
            run("project", "field", "set", "P1", "age", "--of", holder, "--type", kind)
        run("project", "field", "set", "P1", "hand", "--of", "subject", "--value", "left", "--value", "right", "--required")
        definitions = run("project", "field", "list", "P1")["definitions"]
        self.assertEqual({(d["holder"], d["type"]) for d in definitions if d["name"] == "age"},
                         {("SESSION", "DATE"), ("SUBJECT", "INTEGER"), ("PROJECT", "BOOLEAN")})

        self.assertEqual(self.refused("subject", "update", "P1/A", "--field", "age=old", "--field", "hand=left",
                                      reason="CUSTOM_FIELD")["metadata"]["field"], "age")
        self.refused("subject", "update", "P1/A", "--field", "age=42", reason="CUSTOM_FIELD")  # hand is required
        self.refused("subject", "update", "P1/A", "--field", "hand=both", reason="CUSTOM_FIELD")
        self.refused("subject", "update", "P1/NOBODY", "--field", "hand=left", reason="NOT_FOUND")
        made = run("subject", "update", "P1/A", "--field", "age=42", "--field", "hand=left", "--field", "free=x y",
                   "--comment", "as told")
        self.assertEqual(made["fields"], {"age": "42", "hand": "left", "free": "x y"})
        self.assertEqual(run("subject", "show", f"P1/{made['accessionId']}"), run("subject", "show", "P1/a"))
        run("subject", "update", "P1/B", "--field", "age=7", "--field", "hand=right")
        self.assertEqual([s.get("fields", {}).get("age") for s in run("subject", "list", "P1")["subjects"]], ["42", "7"])

        self.assertEqual(self.found("subject.fields.age > 41"), ["E0"])
        self.assertEqual(self.found('subject.fields.hand = "right"'), ["E1"])
        self.assertEqual(self.found("NOT subject.fields.age:*"), ["E2"])
        self.assertEqual(self.found('subject.fields.free:"X"', user="reader"), ["E0"])
        self.assertEqual(self.found('subject.fields.hand = "left"', user="outsider"), [])
        self.assertEqual(self.found("", "subject.fields.hand desc, label"), ["E1", "E0", "E2"])
        scans = run("session", "search", "--scans", "subject.fields.age = 7 AND scans.frames > 0")["scans"]
        self.assertEqual([scan["label"] for scan in scans], ["E1"])
        self.assertEqual(self.server.sessions("fields.age:*"), [])  # that is the session's

        self.refused("subject", "update", "P1/A", "--remove-field", "hand", reason="CUSTOM_FIELD")
        self.assertNotIn("free", run("subject", "update", "P1/A", "--remove-field", "free")["fields"])
        entries = run("subject", "history", "P1/A")["entries"]
        self.assertEqual([(e["user"], e["before"], e["after"]) for e in entries], [
            ("admin", {"fields.free": "x y"}, {"fields.free": ""}),
            ("admin", {"fields.age": "", "fields.free": "", "fields.hand": ""},
             {"fields.age": "42", "fields.free": "x y", "fields.hand": "left"})])
        self.assertEqual(entries[1]["comment"], "as told")
        self.assertEqual(len(self.audit("SUBJECT_UPDATE")), 3)
        self.assertNotIn("x y", "".join(self.audit("SUBJECT_UPDATE")))

    def test_fields_of_projects(self):
        run = self.server.narthex
        run("project", "field", "set", "P2", "budget", "--of", "project", "--type", "float")
        self.refused("project", "update", "P2", "--field", "budget=much", reason="CUSTOM_FIELD")
        run("project", "update", "P2", "--field", "budget=12.5", "--field", "ward=7 West", "--comment", "granted")

        self.assertEqual(run("project", "show", "P2")["fields"], {"budget": "12.5", "ward": "7 West"})
        self.assertEqual(self.found("project.fields.budget > 12"), ["E2"])
        self.assertEqual(self.found('NOT project.fields.ward = "7 West"'), ["E0", "E1"])
        self.assertEqual(self.found('project.fields.ward:"west"', user="member"), ["E2"])
        self.assertEqual(self.found("", "project.fields.ward desc, label"), ["E2", "E0", "E1"])
        entry = run("project", "history", "P2")["entries"][0]
        self.assertEqual((entry["user"], entry["comment"], entry["before"], entry["after"]),
                         ("admin", "granted", {"fields.budget": "", "fields.ward": ""},
                          {"fields.budget": "12.5", "fields.ward": "7 West"}))
        run("project", "update", "P2", "--remove-field", "ward", "--title", "Second")
        self.assertEqual(run("project", "history", "P2")["entries"][0]["after"], {"fields.ward": "", "name": "Second"})
        run("project", "update", "P2", "--field", "ward=7 West")
        # A protected project is known to everybody; what was noted about it is not.
        for user, fields in (("reader", {"budget": "12.5", "ward": "7 West"}), ("outsider", None)):
            shown = self.rpc.call("ProjectService.GetProject", {"name": "projects/P2"}, self.tokens[user]).reply[0]
            self.assertEqual(shown.get("fields") or None, fields, user)
            listed = self.rpc.call("ProjectService.ListProjects", {}, self.tokens[user]).reply[0]["projects"]
            self.assertEqual(next(p for p in listed if p["id"] == "P2").get("fields") or None, fields, user)
        self.assertEqual(self.found("project.fields.budget > 0", user="outsider"), [])

    def test_a_share_tells_nothing_of_its_home(self):
        run = self.server.narthex
        run("project", "create", "HOME", "--accessibility", "protected", "--title", "Hidden title")
        run("project", "create", "GUEST")
        run("project", "member", "add", "GUEST", "reader", "collaborator")
        with tempfile.TemporaryDirectory() as folder:
            phantom(folder, project="HOME", subject="H", session="ATHOME", series=1, slices=1, size=16, seed=77)
            run("upload", folder, "--archive")
        run("project", "update", "HOME", "--field", "secret=yes")
        run("subject", "update", "HOME/H", "--field", "secret=yes")
        run("session", "share", "HOME/ATHOME", "GUEST", "--label", "VISITOR")
        self.addCleanup(run, "session", "delete", "HOME/ATHOME")
        self.assertEqual(self.found('project = "GUEST"', user="reader"), ["VISITOR"])
        for text in ('project.fields.secret = "yes"', 'subject.fields.secret = "yes"', 'projectTitle = "Hidden title"',
                     'projectAccessibility = "PROTECTED"', 'label = "ATHOME"', 'project = "HOME"'):
            self.assertNotIn("VISITOR", self.found(text, user="reader"), text)
        # Nor does the right guess of its name at home.
        for words in (("show",), ("scans",), ("files",), ("download", "-o", "/dev/null/x"), ("update", "--label", "X")):
            told = [self.server.run("session", words[0], f"HOME/{label}", *words[1:], token=self.tokens["reader"]).stdout
                    for label in ("ATHOME", "NOTHERE")]
            self.assertEqual(told[0].replace("ATHOME", "NOTHERE"), told[1])
            self.assertIn("SESSION_NOT_FOUND", told[0])
        self.assertIn("VISITOR", self.server.run("session", "show", "GUEST/VISITOR", token=self.tokens["reader"]).stdout)

    def test_subjects_are_renamed(self):
        run = self.server.narthex
        run("project", "create", "P3")
        self.addCleanup(lambda: [run("session", "delete", s["name"]) for s in self.server.sessions('project = "P3"')])
        for user, role in (("member", "member"), ("reader", "collaborator")):
            run("project", "member", "add", "P3", user, role)
        with tempfile.TemporaryDirectory() as folder:
            for number, subject in enumerate(("OLD", "OLD", "OTHER")):
                phantom(f"{folder}/{number}", project="P3", subject=subject, session=f"R{number}", series=1, slices=1, size=16,
                        seed=900 + number)
            run("upload", folder, "--archive")
        before = run("subject", "show", "P3/OLD")
        document = run("session", "show", "P3/R0", "--xml")

        for label, reason in (("OTHER", "ALREADY_EXISTS"), ("other", "ALREADY_EXISTS"), ("a/b", "INVALID_FIELD"), ("", "INVALID_FIELD")):
            self.refused("subject", "update", "P3/OLD", "--label", label, reason=reason)
        renamed = run("subject", "update", "P3/OLD", "--label", "NEW", "--field", "n=1", "--comment", "typing error")
        self.assertEqual({key: renamed[key] for key in ("label", "accessionId", "sessionCount", "fields")},
                         {"label": "NEW", "accessionId": before["accessionId"], "sessionCount": 2, "fields": {"n": "1"}})
        self.refused("subject", "show", "P3/OLD", reason="NOT_FOUND")
        self.assertEqual([s["label"] for s in run("subject", "list", "P3")["subjects"]], ["NEW", "OTHER"])
        self.assertEqual(self.found('project = "P3" AND subject = "NEW"'), ["R0", "R1"])
        self.assertEqual(self.found('project = "P3" AND subject = "OLD"'), [])
        self.assertEqual(run("session", "show", "P3/R0")["subject"], "NEW")
        self.assertEqual(run("session", "show", "P3/R0", "--xml"), document)  # it names the id
        self.assertEqual(self.server.run("session", "check", "P3/R0").returncode, 0)
        entry = run("subject", "history", "P3/NEW")["entries"][0]
        self.assertEqual((entry["before"], entry["after"], entry["comment"]),
                         ({"label": "OLD", "fields.n": ""}, {"label": "NEW", "fields.n": "1"}, "typing error"))

        # By a member, and repeated under the label that it had; a reader may not.
        ask = lambda user, name, label, **more: self.rpc.call(
            "ProjectService.UpdateSubject", {"name": f"projects/P3/subjects/{name}", "label": label, **more}, self.tokens[user])
        self.assertEqual(ask("reader", "NEW", "X").code.name, "PERMISSION_DENIED")
        self.assertEqual(ask("outsider", "NEW", "X").code.name, "NOT_FOUND")
        once = {"requestId": str(uuid.uuid4())}
        self.assertEqual([ask("member", "NEW", "NEWER", **once).reply[0]["label"] for _ in range(2)], ["NEWER", "NEWER"])
        self.assertEqual(len(run("subject", "history", "P3/NEWER")["entries"]), 2)

        # What is sent under the former label belongs to a new subject.
        with tempfile.TemporaryDirectory() as folder:
            phantom(folder, project="P3", subject="OLD", session="R3", series=1, slices=1, size=16, seed=910)
            run("upload", folder, "--archive")
        self.assertNotEqual(run("subject", "show", "P3/OLD")["accessionId"], before["accessionId"])

    def test_zz_a_session_is_changed_while_its_subject_is_renamed(self):
        run = self.server.narthex
        name = f"projects/P1/subjects/{run('subject', 'show', 'P1/B')['accessionId']}"
        stop = threading.Event()
        renamed = []

        def rename():
            while not stop.is_set():
                answer = self.rpc.call("ProjectService.UpdateSubject", {"name": name, "label": f"B{len(renamed)}"}, self.server.token)
                renamed.append(answer.code.name)

        thread = threading.Thread(target=rename)
        thread.start()
        try:
            for number in range(40):
                answer = self.rpc.call("ArchiveService.UpdateSession", {"name": "projects/P1/sessions/E1", "note": f"n{number}"},
                                       self.server.token)
                self.assertEqual((answer.code.name, answer.reply[0]["note"]), ("OK", f"n{number}"))
        finally:
            stop.set()
            thread.join()
        self.assertEqual(set(renamed), {"OK"})
        run("subject", "update", f"P1/{name.rpartition('/')[2]}", "--label", "B")

    def test_changes_are_repeated_once_and_refused_when_late(self):
        run = self.server.narthex
        name = "projects/P2/subjects/A"
        ask = lambda **more: self.rpc.call("ProjectService.UpdateSubject", {"name": name, **more}, self.tokens["member"])
        first = ask(setFields={"visit": "1"}, requestId=(request := str(uuid.uuid4())))
        self.assertEqual(first.code.name, "OK", first)
        etag = first.reply[0]["etag"]
        self.assertEqual(ask(setFields={"visit": "1"}, requestId=request).reply[0]["etag"], etag)
        self.assertEqual(ask(setFields={"visit": "2"}, etag=etag).code.name, "OK")
        self.assertEqual(ask(setFields={"visit": "3"}, etag=etag).code.name, "ABORTED")
        self.assertEqual(run("subject", "show", "P2/A")["fields"]["visit"], "2")
        self.assertEqual([e["after"]["fields.visit"] for e in run("subject", "history", "P2/A")["entries"]], ["2", "1"])
        reader = self.rpc.call("ProjectService.UpdateSubject", {"name": name, "setFields": {"visit": "9"}}, self.tokens["reader"])
        self.assertEqual(reader.code.name, "PERMISSION_DENIED")


if __name__ == "__main__":
    unittest.main()
