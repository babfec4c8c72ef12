"""PET-MR studies: two sessions, or one of either type, as the project says; on real images, and when killed."""

import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest

from harness import Server, needs_shared, shared_folder, sha256

STUDY = "1.2.826.0.1.3680043.8.498.1234567890"


class PetMr(unittest.TestCase):
    """A study of real PET and MR images, and a server."""

    @classmethod
    def server_of(cls):
        return Server()

    @classmethod
    def setUpClass(cls):
        cls.server = cls.server_of()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        data = shared_folder() / "data"
        target = pathlib.Path(cls.folder.name)
        cls.pet = cls.adopt(sorted((data / "dicom-petct-ge-discovery-tcia/pt_ac").glob("*"))[:6], target / "pet")
        cls.mr = cls.adopt(sorted((data / "dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))[:5], target / "mr")
        # Attenuation correction: MR that belongs to the PET.
        cls.mrac = cls.adopt(sorted((data / "dicom-mr-ge-mr750/mr_0005").glob("*.dcm"))[:4], target / "mrac",
                             "-m", "(0008,103E)=MRAC GRE")
        cls.study = target

    @staticmethod
    def adopt(files, folder, *changes):
        """Copies of `files` that all belong to one study of one patient."""
        folder.mkdir()
        copies = []
        for number, source in enumerate(files):
            copies.append(folder / f"{number}.dcm")
            shutil.copyfile(source, copies[-1])
        subprocess.run(["dcmodify", "-nb", "-ie", "-imt", "-m", f"(0020,000D)={STUDY}", "-m", "(0010,0010)=PM^1", "-m",
                        "(0010,0020)=PM1_PETMR", *changes, *copies], check=True, capture_output=True)
        return copies

    def project(self, name, pet_mr):
        self.server.narthex("project", "create", name)
        self.assertEqual(self.server.narthex("project", "update", name, "--pet-mr", pet_mr)["petMr"], pet_mr.upper())

    def upload(self, project, *flags):
        return self.server.narthex("upload", self.study, "--project", project, "--session", "S_PETMR", *flags)

    def parts(self, project):
        return {s["label"]: s for s in self.server.prearchive("--project", project)}

    def late(self, name):
        """More of each series, and of a PET series that had not come before."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.late_folder()))
        data = shared_folder() / "data"
        pet = sorted((data / "dicom-petct-ge-discovery-tcia/pt_ac").glob("*"))
        mr = sorted((data / "dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))
        mrac = sorted((data / "dicom-mr-ge-mr750/mr_0005").glob("*.dcm"))
        at = {"first": 6, "second": 8, "third": 10, "fourth": 12}[name]
        self.adopt(pet[at:at + 2], folder / "pet")
        self.adopt(mr[at:at + 2], folder / "mr")
        self.adopt(mrac[at:at + 2], folder / "mrac", "-m", "(0008,103E)=MRAC GRE")
        self.adopt(pet[at + 10:at + 11], folder / "newpet", "-m", f"(0020,000E)={STUDY}.{at}")
        return folder

    def late_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def labels(self, project):
        return sorted(s["label"] for s in self.server.prearchive("--project", project))

    def counts(self, project):
        return {s["label"]: s["objectCount"] for s in self.server.prearchive("--project", project)}


@needs_shared
class Split(PetMr):
    def outcomes(self, session):
        return self.server.narthex("prearchive", "outcomes", session["name"]).get("outcomes", [])

    def check_parts(self, parts):
        self.assertEqual(set(parts), {"S_PET", "S_MR"})
        pet, mr = parts["S_PET"], parts["S_MR"]
        self.assertEqual({s["state"] for s in parts.values()}, {"READY"})
        self.assertEqual((pet["sessionType"], pet["scanCount"], pet["objectCount"]), ("xnat:petSessionData", 2, 10))
        self.assertEqual((mr["sessionType"], mr["scanCount"], mr["objectCount"]), ("xnat:mrSessionData", 1, 5))
        for session in parts.values():
            listed = self.outcomes(session)
            self.assertEqual(len(listed), sum(session["outcomeCounts"].values()))
            self.assertEqual({o["prearchiveSession"] for o in listed}, {session["name"]})

    def test_separate_makes_two_sessions_that_can_be_archived(self):
        self.project("SEP", "separate")

        self.upload("SEP")

        parts = self.server.wait_for(
            lambda: (lambda p: p if len(p) == 2 and {s["state"] for s in p.values()} == {"READY"} else None)
            (self.parts("SEP")), "the split")
        self.check_parts(parts)
        for session in parts.values():
            # A rebuild leaves the parts as they are.
            self.server.narthex("prearchive", "build", session["name"])
        self.check_parts(self.parts("SEP"))
        for session in parts.values():
            self.server.narthex("prearchive", "archive", session["name"])
        archived = sorted(f["sha256"] for label in ("S_PET", "S_MR") for f in self.server.files(f"SEP/{label}"))
        self.assertEqual(archived, sorted(map(sha256, self.pet + self.mr + self.mrac)))

    def test_pet_and_petmr_stay_one_session(self):
        for project, pet_mr, session_type in (("ONEPET", "pet", "xnat:petSessionData"),
                                              ("ONEPM", "petmr", "xnat:petmrSessionData")):
            self.project(project, pet_mr)
            self.upload(project)
            sessions = self.server.prearchive("--project", project)
            self.assertEqual([s["sessionType"] for s in sessions], [session_type])
            self.assertEqual(sessions[0]["objectCount"], 15)

    def test_split_by_hand_through_dicom_and_over_a_kill(self):
        self.server.narthex("project", "create", "HAND")
        self.server.narthex("settings", "set", "routing.project_rules", "(0010,0020):(PM1.*) t:.+ r:HAND")
        self.addCleanup(self.server.narthex, "settings", "set", "routing.project_rules", "")
        self.server.storescu("--to", "+sd", "+r", self.study / "mr")
        self.server.storescu("--to", "+sd", "+r", self.study / "mrac")
        self.server.storescu("-xt", "--to", "+sd", "+r", self.study / "pet")
        session = self.server.prearchive("--project", "HAND")[0]
        self.server.narthex("prearchive", "build", session["name"])

        self.server.run("prearchive", "split", session["name"], "--no-wait")
        self.server.kill()
        self.server.start()
        done = self.server.wait_for(
            lambda: [s for s in self.parts("HAND").values() if s["state"] in ("READY", "ERROR")], "the split")

        if len(done) == 1:  # it was killed before the operation was written
            answer = self.server.narthex("prearchive", "split", done[0]["name"])
            self.assertEqual(len(answer["prearchiveSessions"]), 2)
        parts = self.parts("HAND")
        self.assertEqual(sum(s["objectCount"] for s in parts.values()), 15)
        self.assertEqual(sum(len(self.outcomes(s)) for s in parts.values()), 15)
        again = self.server.run("prearchive", "split", next(iter(parts.values()))["name"])
        self.assertIn("NOTHING_TO_SPLIT", again.stdout + again.stderr)

    def test_late_objects_go_to_their_half(self):
        self.project("LATE", "separate")
        self.upload("LATE")
        self.server.wait_for(lambda: self.counts("LATE") == {"S_PET": 10, "S_MR": 5}, "the split")
        names = {s["label"]: s["name"] for s in self.server.prearchive("--project", "LATE")}
        first, second, third = self.late("first"), self.late("second"), self.late("third")
        send = lambda folder: self.server.narthex("upload", folder, "--project", "LATE", "--session", "S_PETMR")

        send(first)

        self.assertEqual(self.counts("LATE"), {"S_PET": 15, "S_MR": 7})
        self.assertEqual({s["label"]: s["name"] for s in self.server.prearchive("--project", "LATE")}, names)
        # What people call a half holds for what is late, and over a restart.
        self.server.narthex("prearchive", "update", names["S_PET"], "--label", "BRAIN_PET")
        self.server.kill()
        self.server.start()
        # Through the other door, under the label that was split.
        self.server.narthex("settings", "set", "routing.project_rules", "(0010,0020):(PM1.*) t:.+ r:LATE")
        self.addCleanup(self.server.narthex, "settings", "set", "routing.project_rules", "")
        self.server.narthex("settings", "set", "routing.session_rules", "(0010,0020):(PM1.*) t:.+ r:S_PETMR")
        self.addCleanup(self.server.narthex, "settings", "set", "routing.session_rules", "")
        for folder, syntax in (("mr", "-xe"), ("mrac", "-xe"), ("pet", "-xt"), ("newpet", "-xt")):
            self.server.storescu(syntax, "--to", "+sd", "+r", second / folder)
        self.assertEqual(self.counts("LATE"), {"BRAIN_PET": 20, "S_MR": 9})
        # Archived halves are merged with what is late, by the project's policy.
        for session in self.server.prearchive("--project", "LATE"):
            self.server.narthex("prearchive", "build", session["name"])
            self.server.narthex("prearchive", "archive", session["name"])
        self.server.stop()
        self.server.start()
        self.server.narthex("project", "update", "LATE", "--auto-archive", "auto")
        send(third)
        self.server.wait_for(lambda: not self.server.prearchive("--project", "LATE"), "the merges")
        archived = lambda: {s["label"]: (s["sessionType"], s["fileCount"])
                            for s in self.server.sessions('project = "LATE"')}
        self.assertEqual(archived(), {"BRAIN_PET": ("xnat:petSessionData", 25), "S_MR": ("xnat:mrSessionData", 11)})
        # MR for attenuation correction alone belongs to the PET all the same.
        fourth = self.late("fourth")
        send(fourth / "mrac")
        self.server.wait_for(lambda: not self.server.prearchive("--project", "LATE"), "the merge")
        self.assertEqual(archived(), {"BRAIN_PET": ("xnat:petSessionData", 27), "S_MR": ("xnat:mrSessionData", 11)})

    def test_a_study_whose_halves_were_deleted_is_as_new(self):
        self.project("ANEW", "separate")
        self.upload("ANEW")
        self.server.wait_for(lambda: self.labels("ANEW") == ["S_MR", "S_PET"], "the split")
        for session in self.server.prearchive("--project", "ANEW"):
            self.server.narthex("prearchive", "delete", session["name"])
        self.server.narthex("project", "update", "ANEW", "--pet-mr", "petmr")

        self.upload("ANEW")

        self.assertEqual(self.counts("ANEW"), {"S_PETMR": 15})


class Hold:
    """Whoever gets to the end of the door stands there until the end of the block."""

    def __init__(self, server, place):
        self.server = server
        self.file = pathlib.Path(server.environment["NARTHEX_PAUSE_POINTS"]) / place

    def __enter__(self):
        self.file.touch()
        return self

    def reached(self):
        """Waits until somebody more stands there."""
        mark = self.file.with_name(self.file.name + ".reached")
        self.server.wait_for(mark.exists, f"the server at {self.file.name}")
        mark.unlink()

    def __exit__(self, *unused):
        self.file.unlink(missing_ok=True)


@needs_shared
class LateDuringSplit(PetMr):
    """What comes while a study is being split waits for the halves, and goes to its own."""

    @classmethod
    def server_of(cls):
        pauses = tempfile.TemporaryDirectory()
        cls.addClassCleanup(pauses.cleanup)
        server = Server()
        server.environment["NARTHEX_PAUSE_POINTS"] = pauses.name
        return server

    def test_it_goes_to_the_halves_by_both_doors(self):
        self.project("DURING", "petmr")
        self.upload("DURING")
        name, = (s["name"] for s in self.server.prearchive("--project", "DURING"))
        for what, value in (("project", "DURING"), ("session", "S_PETMR")):
            self.server.narthex("settings", "set", f"routing.{what}_rules", f"(0010,0020):(PM1.*) t:.+ r:{value}")
            self.addCleanup(self.server.narthex, "settings", "set", f"routing.{what}_rules", "")
        by_grpc, by_dicom = self.late("first"), self.late("second")
        # Sent under a half's name, before there is such a session.
        by_name = self.late("third") / "mr"
        upload, storescu = self.server.narthex, self.server.storescu
        senders = [threading.Thread(target=target, args=arguments) for target, arguments in (
            (upload, ("upload", by_grpc, "--project", "DURING", "--session", "S_PETMR")),
            (upload, ("upload", by_name, "--project", "DURING", "--session", "S_MR")),
            (storescu, ("-xe", "--to", "+sd", "+r", by_dicom / "mr")),
            (storescu, ("-xt", "--to", "+sd", "+r", by_dicom / "newpet")))]
        with Hold(self.server, "split.begun") as begun:
            split = threading.Thread(target=self.server.narthex, args=("prearchive", "split", name))
            split.start()
            begun.reached()
            with Hold(self.server, "split.awaited") as awaited:
                for sender in senders:
                    sender.start()
                    awaited.reached()
                during = {s["label"]: (s["state"], s["objectCount"])
                          for s in self.server.prearchive("--project", "DURING")}
        for thread in [split, *senders]:
            thread.join()

        self.assertEqual(during, {"S_PETMR": ("SEPARATING", 15)})
        sessions = self.server.prearchive("--project", "DURING")
        self.assertEqual(len(sessions), 2, sessions)
        self.assertEqual(self.counts("DURING"), {"S_PET": 10 + 5 + 1, "S_MR": 5 + 2 + 2 + 2})
        self.server.check_invariants(self)

    def test_a_stop_does_not_wait_for_it_and_senders_are_told(self):
        self.project("STOP", "petmr")
        self.upload("STOP")
        name, = (s["name"] for s in self.server.prearchive("--project", "STOP"))
        for what, value in (("project", "STOP"), ("session", "S_PETMR")):
            self.server.narthex("settings", "set", f"routing.{what}_rules", f"(0010,0020):(PM1.*) t:.+ r:{value}")
        late = self.late("fourth") / "mr"
        answers = []

        def store():
            answers.append(self.server.storescu("-xe", "--to", "+sd", "+r", late, code=None))

        with Hold(self.server, "split.begun") as begun:
            split = threading.Thread(target=self.server.run, args=("prearchive", "split", name))
            split.start()
            begun.reached()
            with Hold(self.server, "split.awaited") as awaited:
                sender = threading.Thread(target=store)
                sender.start()
                awaited.reached()
            self.server.process.terminate()
            sender.join()
        split.join()
        self.assertEqual(self.server.process.wait(timeout=40), 0)
        self.assertNotEqual(answers[0].returncode, 0, "the object waits no longer, and was not kept")
        self.server.check_data()
        # The next start ends the split, and what was refused and is sent again goes to its half.
        self.server.start()
        self.server.wait_for(lambda: len(self.parts("STOP")) == 2 and all(
            s["state"] != "SEPARATING" for s in self.parts("STOP").values()), "the split to go on")
        self.server.storescu("-xe", "--to", "+sd", "+r", late)
        self.assertEqual(self.counts("STOP")["S_MR"], 5 + 2)
        for what in ("project", "session"):
            self.server.narthex("settings", "set", f"routing.{what}_rules", "")


if __name__ == "__main__":
    unittest.main()
