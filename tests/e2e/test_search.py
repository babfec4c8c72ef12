"""Searches for sessions and scans through the real client: filters, order, pages, counts, and who sees what."""

import json
import tempfile
import unittest

from harness import Server, phantom
from rpc import Rpc


class SearchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        run = cls.server.narthex
        for project in ("P1", "P2"):
            run("project", "create", project, "--title", {"P1": "The first", "P2": "The second"}[project])
        run("user", "create", "ann")
        run("project", "member", "add", "P1", "ann", "collaborator")
        cls.ann = run("token", "create", "--user", "ann")["secret"]
        with tempfile.TemporaryDirectory() as folder:
            for number, (project, modality) in enumerate((("P1", "MR"), ("P1", "CT"), ("P2", "MR"), ("P2", "CT"))):
                phantom(f"{folder}/{number}", modality=modality, series=2, slices=number + 1, size=16, project=project,
                        subject=f"S{number}", session=f"E{number}", seed=number, patient_name=f"S{number}")
            run("upload", folder, "--archive")

    def labels(self, text, *flags, token=None):
        result = self.server.run("session", "search", text, "--order-by", "label", *flags, token=token)
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        answer = json.loads(result.stdout)
        self.assertEqual(answer["totalSize"], len(answer.get("sessions", ())))
        return [session["label"] for session in answer.get("sessions", ())]

    def scans(self, text, *flags, token=None):
        result = self.server.run("session", "search", "--scans", text, *flags, token=token)
        self.assertEqual(result.returncode, 0, result.stderr + result.stdout)
        return [(found["label"], found["scan"]["id"]) for found in json.loads(result.stdout).get("scans", ())]

    def test_filters_say_what_they_mean(self):
        for text, expected in (
                ("", ["E0", "E1", "E2", "E3"]),
                ('modality = "MR"', ["E0", "E2"]),
                ('NOT modality = "MR"', ["E1", "E3"]),
                ('modality = "MR" AND sessionDate >= "1900-01-01" AND scans.frames > 1', ["E2"]),
                ('project = "P1" OR label = "E3"', ["E0", "E1", "E3"]),
                ('label = "E*" AND subject = "S1"', ["E1"]),
                ('label:"e2"', ["E2"]),
                ("fileCount >= 6", ["E2", "E3"]),
                ('scans.parameters.tr:* AND project = "P1"', ["E0"]),
                ('projectTitle = "none"', []),
                ('projectTitle = "The first"', ["E0", "E1"]),
                ('NOT projectTitle:"FIRST"', ["E2", "E3"]),
                ('projectTitle != "The first" OR projectDescription:*', ["E2", "E3"]),
                ('projectAccessibility = "PRIVATE" AND projectCreateTime > "2020-01-01" AND modality = "CT"', ["E1", "E3"]),
                ('label = "\\*1"', []),
                ('label = "*1"', ["E1"]),
                ('document.dcmPatientName = "S2"', ["E2"]),
                ('document.dcmPatientName = "S*" AND NOT document.dcmPatientName = "S2"', ["E0", "E1", "E3"]),
                ('document.scanner:* AND document.fieldStrength > 0', ["E0", "E2"]),
                ("status = ACTIVE", ["E0", "E1", "E2", "E3"]),
                ('fields.nothing = "x"', [])):
            self.assertEqual(self.labels(text), expected, text)

    def test_scans_are_found_with_their_sessions(self):
        self.assertEqual(len(self.scans("")), 8)
        self.assertEqual({label for label, _ in self.scans("scans.frames > 2")}, {"E2", "E3"})
        self.assertEqual({label for label, _ in self.scans('scans.modality = "CT"')}, {"E1", "E3"})
        self.assertEqual([label for label, _ in self.scans("", "--order-by", "scans.frames desc, label")][:2], ["E3", "E3"])
        self.assertEqual(self.scans("", "--page-size", "3"), self.scans(""))

    def test_others_projects_are_in_no_answer(self):
        self.assertEqual(self.labels("", token=self.ann), ["E0", "E1"])
        self.assertEqual(self.labels('project = "P2"', token=self.ann), [])
        self.assertEqual({label for label, _ in self.scans("", token=self.ann)}, {"E0", "E1"})
        self.assertEqual(self.labels('NOT project = "P1"', token=self.ann), [])

    def test_shared_sessions_are_found_and_no_more(self):
        self.server.narthex("session", "share", "P2/E2", "P1", "--label", "GUEST")
        self.addCleanup(self.server.narthex, "session", "unshare", "P2/E2", "P1")
        of_ann = lambda text: len(self.labels(text, token=self.ann))
        self.assertEqual(of_ann(""), 3)
        self.assertEqual(of_ann('project = "P1"'), 3)
        self.assertEqual(of_ann('project = "P1" AND modality = "MR"'), 2)
        self.assertEqual(of_ann('projectTitle = "The second"'), 0)
        self.assertEqual(of_ann('subject = "S2"'), 0)
        self.assertEqual(self.labels('project = "P1"'), ["E0", "E1", "E2"])
        self.assertEqual(self.labels('NOT project = "P1"'), ["E3"])
        self.assertEqual(self.labels('project = "P2"'), ["E2", "E3"])

    def test_pages_are_stable_and_counts_come_when_asked_for(self):
        rpc = Rpc(self.server.address)
        self.addCleanup(rpc.close)
        for order in ("", "label", "sessionDate desc, label", "modality, sizeBytes desc", "subject desc", "projectTitle, subject",
                      "projectCreateTime desc, scanner"):
            seen, token = [], ""
            while True:
                reply = rpc.call("ArchiveService.SearchSessions", {"orderBy": order, "pageSize": 1, "pageToken": token},
                                 self.server.token).reply[0]
                seen += [session["label"] for session in reply["sessions"]]
                self.assertNotIn("totalSize", reply)
                token = reply.get("nextPageToken", "")
                if not token:
                    break
            self.assertEqual(sorted(seen), ["E0", "E1", "E2", "E3"], order)
        reply = rpc.call("ArchiveService.SearchSessions", {"pageSize": 1, "countTotal": True}, self.server.token).reply[0]
        self.assertEqual(reply["totalSize"], 4)

    def test_what_is_wrong_is_said(self):
        for text, reason in (("nothing = 1", "INVALID_FILTER"), ("label = ", "INVALID_FILTER"), ("a)", "INVALID_FILTER")):
            self.assertEqual(self.server.narthex("session", "search", text, code=1)["error"]["reason"], reason)
        for order in ("nothing", "scans.frames", "document.dcmPatientId", "label sideways", "label,,label"):
            error = self.server.narthex("session", "search", "", "--order-by", order, code=1)["error"]
            self.assertEqual(error["reason"], "INVALID_FILTER", error)
            self.assertIn("scans" if order.startswith("scans") else "order_by", error["message"])


if __name__ == "__main__":
    unittest.main()
