"""Routing: every link of the chain decides, through both doors, and `routing test` says the same as what happens."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import Server, needs_shared, phantom, shared_folder


class Routing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2", "P3"):
            cls.server.narthex("project", "create", project, "--alias", f"alias-{project}")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.number = 0

    def tearDown(self):
        for row in self.server.prearchive():
            self.server.narthex("prearchive", "delete", row["name"])
        for target in ("project", "subject", "session", "auto-archive", "legacy-project"):
            self.rules(target, "")

    def rules(self, target, text, code=0):
        file = self.folder / "rules.txt"
        file.write_text(text)
        return self.server.narthex("routing", "set", target, file, code=code)

    def image(self, **tags):
        """One object of a study of its own with these attributes ("" removes one), made by DCMTK."""
        type(self).number += 1
        folder = self.folder / f"n{self.number}"
        path = phantom(folder, series=1, slices=1, project="", session=f"LABEL{self.number}", subject="Who^Is",
                       seed=self.number)[0]
        command = ["dcmodify", "-nb"]
        for keyword, value in tags.items():
            tag = {"StudyComments": "(0032,4000)"}.get(keyword, keyword)  # retired: DCMTK knows it by number only
            command += ["-ea", tag] if value == "" else ["-i", f"{tag}={value}"]
        subprocess.run(command + [path], check=True, capture_output=True)
        return path

    def both_doors(self, path, calling="SCU"):
        """Where the object goes over DICOM and gRPC: (project, subject, label, autoArchive), which must be the same."""
        found = []
        for door in ("dicom", "grpc"):
            if door == "dicom":
                self.server.storescu("-aet", calling, "--to", path)
            else:
                self.server.narthex("upload", path, "--no-commit")
            rows = self.server.prearchive()
            self.assertEqual(len(rows), 1, rows)
            row = self.server.narthex("prearchive", "show", rows[0]["name"])
            found.append((row["project"], row["subject"], row["label"], row["autoArchive"]))
            self.server.narthex("prearchive", "delete", row["name"])
        self.assertEqual(found[0], found[1], "both doors route alike")
        explained = self.server.narthex("routing", "test", path, "--called-ae", "NARTHEX", "--calling-ae", calling)
        self.assertEqual((explained["project"], explained["subject"], explained["session"], explained["autoArchive"]), found[0],
                         "what `routing test` says is what happens")
        return found[0]

    def test_comments(self):
        path = self.image(PatientComments="Project:P1 Subject:SS, Session:EE; AA:false")
        self.assertEqual(self.both_doors(path), ("P1", "SS", "EE", "MANUAL"))
        path = self.image(StudyComments="for us project : alias-P2")
        self.assertEqual(self.both_doors(path)[0], "P2")

    def test_study_description_accession_number_and_unassigned(self):
        self.assertEqual(self.both_doors(self.image(StudyDescription="P2", AccessionNumber="P1"))[0], "P2")
        self.assertEqual(self.both_doors(self.image(StudyDescription="Head", AccessionNumber="P1"))[0], "P1")
        path = self.image(StudyDescription="Head", AccessionNumber="17", PatientID="", PatientComments="")
        self.assertEqual(self.both_doors(path), ("", "Who_Is", "dicom_upload", "MODE_UNSPECIFIED"))

    def test_site_rules_come_before_the_comments(self):
        self.rules("project", "(0012,0020):^TRIAL-(.*)$:1\nClinicalTrialSubjectID:(NONE.*)\n")
        self.rules("subject", "(0012,0040):(.*)")
        self.rules("session", "# ours\n(0010,0020):^(LABEL)\\d+$:1 t:^ r:V_")
        self.rules("auto-archive", "(0012,0010):^(true)$")
        path = self.image(PatientComments="Project:P1 Session:E AA:false", ClinicalTrialProtocolID="TRIAL-P3",
                          ClinicalTrialSubjectID="CT-007", ClinicalTrialSponsorName="true")

        explained = self.server.narthex("routing", "test", path)

        self.assertEqual((explained["project"], explained["subject"], explained["session"], explained["autoArchive"]),
                         ("P3", "CT-007", "V_LABEL", "AUTO"))
        steps = [(s["target"], s["stage"], s["line"], s["attribute"], s["result"]) for s in explained["steps"]]
        self.assertIn(("project", "site rule", 1, "ClinicalTrialProtocolID", "taken"), steps)
        self.assertIn(("session", "site rule", 2, "PatientID", "taken"), steps)
        self.rules("auto-archive", "")
        self.assertEqual(self.both_doors(path)[:3], ("P3", "CT-007", "V_LABEL"))

    def test_ae_titles_as_rules(self):
        self.rules("project", "CallingAETitle:^MR_(.*)$")
        path = self.image()
        self.server.storescu("-aet", "MR_P2", "--to", path)
        self.assertEqual([row["project"] for row in self.server.prearchive()], ["P2"])
        explained = self.server.narthex("routing", "test", path, "--called-ae", "NARTHEX", "--calling-ae", "MR_P2")
        self.assertEqual((explained["project"], explained["receiver"]), ("P2", "NARTHEX"))

    def test_rules_of_trials_and_called_titles_through_dicom(self):
        """Two receivers, one rule each: what `routing test` says of each pair of titles is what happens."""
        for title in ("TRIAL_A", "TRIAL_B"):
            self.server.narthex("receiver", "create", title)
            self.addCleanup(self.server.narthex, "receiver", "delete", title)
        self.rules("project", "CalledAETitle:^(TRIAL_A)$ t:.+ r:P1\n(0012,0020):^TRIAL-(.*)$\n")
        self.rules("subject", "ClinicalTrialSubjectID:^CT-(.*)$:1 t:^ r:SUBJ_\n")
        self.rules("session", "(0012,0010):(SPONSOR.*)\nCallingAETitle:^SITE_(.*)$ t:^ r:VISIT_\n")
        expected = {("TRIAL_A", "SITE_7", True): ("P1", "SUBJ_007", "SPONSOR_X"),
                    ("TRIAL_B", "SITE_7", True): ("P2", "SUBJ_007", "SPONSOR_X"),
                    ("TRIAL_B", "SITE_7", False): ("P2", "SUBJ_007", "VISIT_7"),
                    ("TRIAL_B", "OTHER", False): ("P2", "SUBJ_007", None)}
        for (called, calling, sponsored), (project, subject, session) in expected.items():
            with self.subTest(called=called, calling=calling, sponsored=sponsored):
                path = self.image(ClinicalTrialProtocolID="TRIAL-P2", ClinicalTrialSubjectID="CT-007",
                                  **({"ClinicalTrialSponsorName": "SPONSOR X"} if sponsored else {}))
                explained = self.server.narthex("routing", "test", path, "--called-ae", called, "--calling-ae", calling)
                self.server.storescu("-aec", called, "-aet", calling, "--to", path)
                row, = self.server.prearchive()

                self.assertEqual((row["project"], row["subject"], row["label"]),
                                 (project, subject, session or f"LABEL{self.number}"))
                self.assertEqual((explained["project"], explained["subject"], explained["session"], explained["receiver"]),
                                 (row["project"], row["subject"], row["label"], called))
                taken = {step["target"]: step for step in explained["steps"] if step["result"] == "taken"}
                self.assertEqual(taken["project"]["attribute"],
                                 "CalledAETitle" if called == "TRIAL_A" else "ClinicalTrialProtocolID")
                self.assertEqual((taken["subject"]["stage"], taken["subject"]["line"]), ("site rule", 1))
                self.server.narthex("prearchive", "delete", row["name"])

    def test_legacy_rules_come_last(self):
        self.rules("legacy-project", "(0008,0080):(.+) t:.+ r:P3")
        self.assertEqual(self.both_doors(self.image(InstitutionName="Somewhere"))[0], "P3")
        self.assertEqual(self.both_doors(self.image(InstitutionName="Somewhere", AccessionNumber="P1"))[0], "P1")

    def test_wrong_rules_are_refused_with_line_and_column(self):
        self.rules("project", "(0010,0020):(.*)")
        answer = self.rules("project", "# fine\n(0010,0020):(?=x)\n", code=1)
        self.assertEqual(answer["error"]["reason"], "INVALID_SCRIPT")
        self.assertIn("2", answer["error"]["message"])
        self.assertEqual(self.server.narthex("routing", "get", "project")["value"], "(0010,0020):(.*)")

    def test_an_explicit_destination_wins_or_is_an_error(self):
        path = self.image(PatientComments="Project:P1 Subject:SS Session:EE")
        self.server.narthex("upload", path, "--project", "P2", "--subject", "X", "--session", "Y", "--no-commit")
        rows = self.server.prearchive()
        self.assertEqual([(r["project"], r["subject"], r["label"]) for r in rows], [("P2", "X", "Y")])
        answer = self.server.narthex("upload", path, "--project", "NONE", "--no-commit", code=1)
        self.assertEqual(answer["error"]["reason"], "PROJECT_NOT_FOUND")
        answer = self.server.narthex("upload", path, "--project", "P1", "--subject", "a b", "--no-commit", code=1)
        self.assertEqual(answer["error"]["reason"], "INVALID_FIELD")
        self.assertEqual(len(self.server.prearchive()), 1, "nothing fell through to the header")

    @needs_shared
    def test_the_study_routing_table_until_the_study_is_archived(self):
        source = shared_folder() / "data/dicom-xnat-sample-mr"
        files = [path for path in sorted(source.rglob("*")) if path.suffix == ".dcm"]
        uid = self.server.narthex("routing", "test", files[0])["studyInstanceUid"]
        self.server.narthex("routing", "study", "set", uid, "--project", "alias-P2", "--subject", "SR", "--session", "LR")
        self.assertIn(uid, [r["studyInstanceUid"] for r in self.server.narthex("routing", "study", "list")["routes"]])

        self.assertEqual(self.both_doors(files[0])[:3], ("P2", "SR", "LR"))
        self.server.narthex("upload", files[0])
        row = self.server.prearchive("--project", "P2")[0]
        self.server.narthex("prearchive", "archive", row["name"])

        self.assertEqual(self.server.narthex("session", "show", "P2/LR")["subject"], "SR")
        self.assertEqual(self.server.narthex("routing", "study", "list").get("routes", []), [])
        self.assertEqual(self.server.narthex("routing", "study", "set", uid, "--project", "NONE", code=1)["error"]["reason"],
                         "PROJECT_NOT_FOUND")
        self.assertEqual(self.server.narthex("routing", "study", "set", "x y", "--project", "P1", code=1)["error"]["reason"],
                         "INVALID_FIELD")

    def test_nobody_takes_a_study_from_somebody_elses_project(self):
        run = self.server.narthex
        for user, project in (("rita", "R1"), ("sam", "R2")):
            run("project", "create", project)
            run("user", "create", user)
            run("project", "member", "add", project, user, "owner")
        rita, sam = (run("token", "create", "--user", user)["secret"] for user in ("rita", "sam"))
        ask = lambda token, project, *more: self.server.run("routing", "study", "set", "1.2.3.77", "--project", project, *more,
                                                            token=token)
        self.assertEqual(ask(rita, "R1").returncode, 0)
        refused = ask(sam, "R2")
        self.assertEqual(json.loads(refused.stdout)["error"]["reason"], "ALREADY_EXISTS", refused)
        self.assertNotIn("R1", refused.stdout + refused.stderr)
        self.assertEqual(json.loads(ask(sam, "R1").stdout)["error"]["reason"], "PROJECT_NOT_FOUND")
        self.assertEqual(ask(rita, "R1", "--subject", "other").returncode, 0)
        route = next(r for r in run("routing", "study", "list")["routes"] if r["studyInstanceUid"] == "1.2.3.77")
        self.assertEqual((route["project"], route["subject"]), ("R1", "other"))
        self.assertEqual(ask(self.server.token, "R2").returncode, 0)
        run("routing", "study", "delete", "1.2.3.77")

    @needs_shared
    def test_real_images_go_where_routing_test_says(self):
        self.rules("project", "(0008,0060):(MR) t:MR r:P1\n(0008,0060):(CT) t:CT r:P2\n(0008,0060):(PT) t:PT r:P3")
        folder = self.folder / "mix"
        folder.mkdir()
        data = shared_folder() / "data"
        said = {}
        for name in ("dicom-mr-siemens-skyra", "dicom-ct-ge-hispeed", "dicom-pt-siemens-1094-tcia", "dicom-rt-dicompyler"):
            path = next(p for p in sorted((data / name).rglob("*")) if p.is_file() and p.read_bytes()[128:132] == b"DICM")
            shutil.copy(path, folder / name)
            answer = self.server.narthex("routing", "test", path)
            said[answer["studyInstanceUid"]] = (answer["project"], answer["subject"], answer["session"])

        self.server.storescu("--to", "-R", "+sd", folder, tool="storescu")

        rows = {r["studyInstanceUid"]: (r["project"], r["subject"], r["label"]) for r in self.server.prearchive()}
        self.assertEqual(rows, said)
        self.assertGreaterEqual({project for project, _, _ in said.values()}, {"P1", "P2"})


if __name__ == "__main__":
    unittest.main()
