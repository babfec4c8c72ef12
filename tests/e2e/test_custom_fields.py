"""Custom fields of subjects and projects: types, rights, search, history and audit. Those of sessions are in test_archive_changes.py."""

import json
import tempfile
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
