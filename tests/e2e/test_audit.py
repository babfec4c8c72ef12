"""The audit trail: what is written, that tampering is found, running and stopped, and what is exported."""

import json
import tempfile
import unittest
import xml.etree.ElementTree

from harness import Server, phantom


class AuditTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--dicom-listen", "off"])
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


if __name__ == "__main__":
    unittest.main()
