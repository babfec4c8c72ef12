"""The audit trail: what is written, that tampering is found, running and stopped, and what is exported."""

import json
import pathlib
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

from harness import Server, phantom, shared_folder


class AuditTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--dicom-listen", "off"], damage=("AUDIT_CHAIN_BROKEN",))
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        run = cls.server.narthex
        run("project", "create", "P1")
        run("user", "create", "ann")
        run("project", "member", "add", "P1", "ann", "owner")
        cls.ann = run("token", "create", "--user", "ann")["secret"]
        with tempfile.TemporaryDirectory() as folder:
            phantom(folder, series=1, slices=1, size=16, project="P1", session="E1")
            run("upload", folder, "--project", "P1", "--archive")
        run("session", "delete", "P1/E1")
        run("session", "restore", "NARTHEX_E00001")

    def verify(self):
        result = self.server.run("server", "verify-audit")
        return result.returncode, {line.get("project", ""): line for line in map(json.loads, result.stdout.splitlines())}

    def test_every_change_is_there_and_the_chains_hold(self):
        code, chains = self.verify()
        self.assertEqual(code, 0, chains)
        self.assertEqual(set(chains), {"", "P1"})
        self.assertEqual(len(chains["P1"]["head"]), 64)
        lines = self.server.run("server", "export-audit", "--format", "fhir").stdout.splitlines()
        actions = [json.loads(line)["subtype"][-1]["code"] for line in lines]
        for action in ("USER_CREATE", "TOKEN_CREATE", "PROJECT_CREATE", "MEMBER_SET", "SESSION_CREATE", "SESSION_DELETE"):
            self.assertIn(action, actions)
        self.assertNotIn(self.ann, "".join(lines))

    def test_both_formats_are_whole_lines(self):
        lines = self.server.run("server", "export-audit", "--format", "atna", "--project", "P1").stdout.splitlines()
        self.assertGreaterEqual(len(lines), 4)
        for line in lines:
            message = xml.etree.ElementTree.fromstring(line)
            self.assertEqual([child.tag for child in message], ["EventIdentification", "ActiveParticipant",
                                                                "AuditSourceIdentification", "ParticipantObjectIdentification"])
            self.assertIn(message[0].get("EventActionCode"), "CRUDE")
        for line in self.server.run("server", "export-audit", "--format", "fhir", "--project", "P1").stdout.splitlines():
            event = json.loads(line)
            self.assertEqual(event["resourceType"], "AuditEvent")
            self.assertTrue(event["recorded"] and event["agent"][0]["who"] and event["source"]["observer"])
        self.assertEqual(self.server.run("server", "export-audit", "--format", "atna", "--to", "2020-01-01").stdout, "")
        self.assertEqual(self.server.run("server", "export-audit", "--format", "atna", "--from", "soon").returncode, 1)

    def test_exports_are_events_themselves(self):
        export = lambda **more: self.server.run("server", "export-audit", "--format", "fhir", "--project", "P1", **more).stdout
        self.assertEqual(self.server.run("server", "export-audit", "--format", "atna", "--project", "P1", token=self.ann).returncode, 0)
        events = [json.loads(line) for line in export().splitlines()]
        found = [e for e in events if e["subtype"][-1]["code"] == "AUDIT_EXPORT"]
        self.assertEqual({e["action"] for e in found}, {"R"})
        self.assertIn("ann", json.dumps(found))
        self.assertEqual(self.verify()[0], 0)

    def test_cancelling_an_operation_is_an_event(self):
        operation = self.server.narthex("operation", "list")["operations"][0]["name"]
        self.server.run("operation", "cancel", operation)  # it is done: nothing to cancel, and that is noted too
        lines = self.server.run("server", "export-audit", "--format", "fhir", "--project", "P1").stdout.splitlines()
        found = [json.loads(line) for line in lines if "OPERATION_CANCEL" in line]
        self.assertTrue(found)
        self.assertIn(operation.split("/")[1], json.dumps(found))

    def test_owners_export_their_projects_only(self):
        lines = self.server.run("server", "export-audit", "--format", "fhir", token=self.ann).stdout
        projects = {detail["valueString"] for line in lines.splitlines() for detail in json.loads(line)["entity"][0]["detail"]
                    if detail["type"] == "project"}
        self.assertEqual(projects, {"P1"})
        self.assertEqual(self.server.run("server", "verify-audit", token=self.ann).returncode, 4)

    def test_tampering_is_found_and_named(self):
        self.server.narthex("project", "create", "P2")
        for title in "abcd":
            self.server.narthex("project", "update", "P2", "--title", title)
        keep = "SET session_replication_role = replica; "  # as a superuser would, past the triggers
        self.server.sql(keep + "CREATE TABLE kept AS SELECT * FROM audit_events WHERE project_id = 'P2'")
        table = (
            ("UPDATE audit_events SET user_name = 'somebody' WHERE project_id = 'P2' AND sequence = 2", "does not fit"),
            ("DELETE FROM audit_events WHERE project_id = 'P2' AND sequence = 3", "is missing"),
            ("DELETE FROM audit_events WHERE project_id = 'P2' AND sequence = 5", "is missing"),
            ("DELETE FROM audit_events WHERE project_id = 'P2'", "is missing"),
            ("UPDATE audit_events SET sequence = CASE sequence WHEN 2 THEN -1 ELSE 2 END WHERE project_id = 'P2' AND sequence IN (2, 3); "
             "UPDATE audit_events SET sequence = 3 WHERE project_id = 'P2' AND sequence = -1", "does not fit"),
            ("INSERT INTO audit_events SELECT project_id, 6, time_us, user_name, action, object, details, hash FROM audit_events "
             "WHERE project_id = 'P2' AND sequence = 5", "does not fit"),
        )
        for statement, words in table:
            self.server.sql(keep + statement)
            code, chains = self.verify()
            self.assertEqual(code, 1, statement)
            self.assertFalse(chains["P2"].get("intact"), statement)
            self.assertIn(words, chains["P2"]["problem"], statement)
            self.assertTrue(chains["P1"]["intact"])
            self.server.sql(keep + "DELETE FROM audit_events WHERE project_id = 'P2'; INSERT INTO audit_events SELECT * FROM kept")
            self.assertEqual(self.verify()[0], 0)
        self.server.sql("DROP TABLE kept")

    def test_zz_the_offline_checker_finds_it_too(self):
        self.server.sql("SET session_replication_role = replica; UPDATE audit_events SET object = 'x' WHERE project_id = '' AND sequence = 1")
        self.server.stop()
        result = self.server.verify("--output", "json")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("AUDIT_CHAIN_BROKEN", [finding["kind"] for finding in json.loads(result.stdout)["findings"]])


class PeopleTest(unittest.TestCase):
    """What people do is in the trail of the project that it is about, under their name: real images, reviewed by a member."""

    @classmethod
    def setUpClass(cls):
        if not shared_folder():
            raise unittest.SkipTest("the shared test images are absent")
        cls.server = Server()
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        run = cls.server.narthex
        run("user", "create", "ann")
        for project in ("P1", "P2"):
            run("project", "create", project)
            run("project", "member", "add", project, "ann", "member")
        cls.ann = run("token", "create", "--user", "ann")["secret"]
        cls.images = shared_folder() / "data/dicom-mr-ge-mr750"

    def staged(self, label, project="P1"):
        answer = self.server.narthex("upload", self.images / "mr_0004", "--project", project, "--session", label, "--subject",
                                     "JANEDOE", "--commit", code=None)
        return answer["outcomes"][0]["prearchiveSession"]

    def as_ann(self, *arguments, code=0):
        result = self.server.run(*arguments, token=self.ann)
        self.assertEqual(result.returncode, code, f"{arguments}: {result.stdout} {result.stderr}")

    def events(self, *arguments):
        """(action, user, object, project, details, outcome), in order, of FHIR and, compared with it, of DICOM."""
        found = []
        for line in self.server.run("server", "export-audit", "--format", "fhir", *arguments).stdout.splitlines():
            event = json.loads(line)
            more = {detail["type"]: detail["valueString"] for detail in event["entity"][0]["detail"]}
            found.append((event["subtype"][-1]["code"], event["agent"][0]["who"]["identifier"]["value"],
                          event["entity"][0]["what"]["identifier"]["value"], more.get("project", ""), json.loads(more["details"]),
                          event["outcome"]))
        lines = self.server.run("server", "export-audit", "--format", "atna", *arguments).stdout.splitlines()
        messages = [xml.etree.ElementTree.fromstring(line) for line in lines]
        told = [(m[0].findall("EventTypeCode")[-1].get("csd-code"), m[0].get("EventOutcomeIndicator"), m[1].get("UserID"))
                for m in messages]
        found = [event for event in found if event[0] != "AUDIT_EXPORT"]  # each export is one event more
        self.assertEqual([event for event in told if event[0] != "AUDIT_EXPORT"], [(e[0], e[5], e[1]) for e in found])
        return found

    def test_changes_in_the_prearchive(self):
        edited, moved, deleted, archived = (self.staged(label) for label in ("EDIT", "MOVE", "TRASH", "KEEP"))
        scan = self.server.narthex("prearchive", "show", edited)["scans"][0]["id"]
        self.as_ann("prearchive", "update", edited, "--label", "JANEDOE2", "--date", "2001-02-03")
        self.as_ann("prearchive", "update", edited, "--scan", scan, "--note", "of Jane Doe")
        self.as_ann("prearchive", "build", edited)
        self.as_ann("prearchive", "split", edited, code=1)
        self.as_ann("prearchive", "update", moved, "--project", "P2")
        self.as_ann("prearchive", "delete", deleted)
        self.as_ann("prearchive", "archive", archived)
        self.as_ann("prearchive", "delete", deleted, code=1)

        events = self.events("--project", "P1")
        mine = [(action, thing, details, outcome) for action, user, thing, _, details, outcome in events
                if action.startswith("PREARCHIVE_") and user == "ann"]
        expected = [("PREARCHIVE_UPDATE", edited, "0"), ("PREARCHIVE_UPDATE", edited, "0"), ("PREARCHIVE_BUILD", edited, "0"),
                    ("PREARCHIVE_SPLIT", edited, "0"), ("PREARCHIVE_SPLIT", edited, "4"), ("PREARCHIVE_MOVE", moved, "0"),
                    ("PREARCHIVE_DELETE", deleted, "0"), ("PREARCHIVE_ARCHIVE", archived, "0")]
        self.assertEqual([(action, thing, outcome) for action, thing, _, outcome in mine], expected)
        details = [entry[2] for entry in mine]
        self.assertEqual(details[0]["fields"], "label session_date")
        self.assertEqual(details[1]["fields"], "scan.note")
        self.assertEqual(details[4]["failed"], "NOTHING_TO_SPLIT")
        self.assertEqual((details[5]["from_project"], details[5]["to_project"]), ("P1", "P2"))
        self.assertGreater(int(details[6]["object_count"]), 0)
        there = [(action, user, thing) for action, user, thing, *_ in self.events("--project", "P2") if thing == moved]
        self.assertEqual(there, [("PREARCHIVE_MOVE", "ann", moved)], "the project where it went knows it, too")
        text = json.dumps([e for e in events if e[0].startswith("PREARCHIVE_")])
        for word in ("JANEDOE", "Jane", "EDIT", "TRASH"):
            self.assertNotIn(f'"{word}', text, "labels of the prearchive may name patients")
        self.assertEqual(self.server.run("server", "verify-audit").returncode, 0)

    def test_a_claim_is_known_to_the_site_and_to_the_project(self):
        images = sorted((self.images / "mr_0005").glob("*.dcm"))[:2]
        subprocess.run(["storescu", "-aec", "NARTHEX", self.server.dicom_host, self.server.dicom_port, *images], check=True,
                       capture_output=True)
        row = self.server.prearchive("--unassigned")[0]
        self.as_ann("prearchive", "claim", "--project", "P2", "--study", row["studyInstanceUid"])
        claims = [(user, thing, project) for action, user, thing, project, *_ in self.events() if action == "PREARCHIVE_CLAIM"]
        self.assertEqual(claims, [("ann", row["name"], ""), ("ann", row["name"], "P2")])

    def test_configuration_by_administrators(self):
        run = self.server.narthex
        with tempfile.TemporaryDirectory() as folder:
            script, rules, series = (pathlib.Path(folder) / name for name in ("script", "rules", "series"))
            script.write_text('version "6.6"\n(0010,0010) := "X"\n')
            rules.write_text("(0010,0020):^(.*)$ t:^ r:X_\n")
            series.write_text("LOCALIZER\n")
            run("anon", "set", script, "--project", "P1")
            run("filter", "set", series, "--project", "P1")
            run("routing", "set", "session", rules)
        run("receiver", "create", "MR9")
        run("receiver", "update", "MR9", "--description", "x")
        run("receiver", "delete", "MR9")
        self.server.run("routing", "study", "set", "1.2.3.4", "--project", "P1")
        self.server.run("routing", "study", "delete", "1.2.3.4")
        self.server.run("routing", "study", "delete", "1.2.3.4")
        run("settings", "set", "prearchive.idle_build_seconds", "61")
        run("settings", "set", "prearchive.idle_build_seconds", "")
        run("user", "create", "zoe")
        run("user", "disable", "zoe")
        token = run("token", "create", "--user", "zoe")["token"]["name"].split("/")[1]
        run("token", "revoke", token)
        run("project", "field", "set", "P1", "dose", "--type", "float")
        run("project", "update", "P1", "--title", "x")
        run("project", "member", "add", "P1", "zoe", "owner")
        run("project", "member", "remove", "P1", "zoe")
        run("server", "backup", "first")
        found = [(action, thing, project) for action, user, thing, project, *_ in self.events() if user == "admin"]
        for event in (("SCRIPT_SET", "anonymize", "P1"), ("SCRIPT_SET", "series-filter", "P1"), ("RECEIVER_SET", "MR9", ""),
                      ("RECEIVER_REMOVE", "MR9", ""), ("STUDY_ROUTE_SET", "1.2.3.4", "P1"), ("STUDY_ROUTE_REMOVE", "1.2.3.4", "P1"),
                      ("SETTING_SET", "prearchive.idle_build_seconds", ""), ("SETTING_REMOVE", "prearchive.idle_build_seconds", ""),
                      ("USER_CREATE", "zoe", ""), ("USER_UPDATE", "zoe", ""), ("TOKEN_CREATE", token, ""),
                      ("TOKEN_REVOKE", token, ""), ("PROJECT_UPDATE", "P1", "P1"), ("BACKUP_CREATE", "first", "")):
            self.assertIn(event, found)
        actions = [(action, project) for action, _, project in found]
        for event in (("MEMBER_SET", "P1"), ("MEMBER_REMOVE", "P1"), ("SETTING_SET", "P1"), ("SETTING_SET", "")):
            self.assertIn(event, actions)
        self.assertEqual(found.count(("STUDY_ROUTE_REMOVE", "1.2.3.4", "P1")), 1, "what was not there is not removed")


if __name__ == "__main__":
    unittest.main()
