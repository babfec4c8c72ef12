"""What a receiver decides for what comes through it, on real images: direct archive, anonymization, auto-archive, idle time;
each beside a receiver that decides otherwise."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import pydicom

from harness import Server, needs_shared, shared_folder
from test_races import data_set, instance_of


@needs_shared
class Switches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        for project, mode in (("MANUAL", "manual"), ("AUTO", "auto")):
            cls.server.narthex("project", "create", project)
            cls.server.narthex("project", "update", project, "--auto-archive", mode)
        for title, *flags in (("DIRECT", "--direct-archive", "on"), ("RAW", "--anonymize", "off"), ("QUICK", "--idle", "1"),
                              ("BYITSELF", "--auto-archive", "auto"), ("BYHAND", "--auto-archive", "manual")):
            cls.server.narthex("receiver", "create", title, *flags)
        cls.source = sorted((shared_folder() / "data/dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))

    def images(self, project, label, numbers=slice(0, 4), *changes):
        """Real images that their comments route."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        files = [pathlib.Path(shutil.copy(path, folder)) for path in self.source[numbers]]
        comments = f"PatientComments=Project:{project} Subject:S Session:{label}"
        subprocess.run(["dcmodify", "-nb", *[word for change in (comments, *changes) for word in ("-i", change)], *files],
                       check=True, capture_output=True)
        return files

    def send(self, receiver, files):
        self.server.storescu("-aec", receiver, "--to", *files)

    def row(self, label):
        rows = [row for row in self.server.prearchive() if row["label"] == label]
        return rows[0] if rows else None

    def settled(self, label):
        """The session when nothing more happens to it by itself; None: the archive has it."""
        self.server.wait_for(lambda: (self.row(label) or {"state": "READY"})["state"] in ("READY", "CONFLICT", "ERROR"),
                             f"{label} to settle")
        return self.row(label)

    def downloaded(self, reference):
        folder = tempfile.mkdtemp(dir=self.temporary.name)
        self.server.narthex("session", "download", reference, "-o", folder, "--verify")
        return {instance_of(path): data_set(path) for path in pathlib.Path(folder).rglob("*.dcm")}

    @staticmethod
    def data_sets(files):
        return {instance_of(path): data_set(path) for path in files}

    def test_direct_archive_waits_for_nobody(self):
        """The site's timer is a minute and the project archives by hand: neither counts."""
        first, late = self.images("MANUAL", "D1"), self.images("MANUAL", "D1", slice(4, 7))

        self.send("DIRECT", first)
        self.server.wait_for(lambda: self.server.sessions('label = "D1"'), "the archive")

        self.assertIsNone(self.settled("D1"))
        self.assertEqual(self.downloaded("MANUAL/D1"), self.data_sets(first))
        session = self.server.narthex("session", "show", "MANUAL/D1")
        self.assertEqual((session["status"], session["subject"], session["fileCount"]), ("ACTIVE", "S", len(first)))
        entries = self.server.narthex("session", "history", "MANUAL/D1")["entries"]
        self.assertEqual([(entry["action"], entry["user"]) for entry in entries], [("CREATE", "system")])

        self.send("DIRECT", late)
        self.server.wait_for(lambda: self.server.narthex("session", "show", "MANUAL/D1")["fileCount"] == 7, "the merge")

        self.assertIsNone(self.settled("D1"))
        self.assertEqual(self.downloaded("MANUAL/D1"), self.data_sets(first + late))
        entries = self.server.narthex("session", "history", "MANUAL/D1")["entries"]
        self.assertIn("MERGE", {entry["action"] for entry in entries})

    def test_direct_archive_leaves_a_conflict_to_people(self):
        first = self.images("MANUAL", "D2")
        self.send("DIRECT", first)
        self.server.wait_for(lambda: self.server.sessions('label = "D2"'), "the archive")
        self.assertIsNone(self.settled("D2"))

        self.send("DIRECT", self.images("MANUAL", "D2", slice(4, 6), "StudyInstanceUID=1.2.826.0.1.3680043.2.1125.79"))
        self.server.wait_for(lambda: (self.row("D2") or {}).get("state") == "CONFLICT", "the conflict")

        row = self.row("D2")
        self.assertIn((5, "CONFLICT"), {(c["code"], c["type"]) for c in row["conflicts"]})
        self.assertTrue(all(c["remedy"] for c in row["conflicts"]))
        self.assertEqual(row["objectCount"], 2)
        self.assertEqual(self.downloaded("MANUAL/D2"), self.data_sets(first))
        # A person decides: under another label it goes.
        self.server.narthex("prearchive", "update", row["name"], "--label", "D2B")
        self.server.narthex("prearchive", "archive", row["name"])
        self.assertEqual(self.server.narthex("session", "show", "MANUAL/D2B")["fileCount"], 2)

    def test_the_same_without_waiting_by_upload(self):
        """Over gRPC the sender says that all has come, so that there is nothing to wait for."""
        files = self.images("MANUAL", "D3")

        self.server.narthex("upload", *files, "--auto-archive", "auto")
        self.server.wait_for(lambda: self.server.sessions('label = "D3"'), "the archive")

        self.assertIsNone(self.settled("D3"))
        self.assertEqual(self.downloaded("MANUAL/D3"), self.data_sets(files))

    def test_direct_archive_says_which_scripts_were_applied(self):
        script = pathlib.Path(self.temporary.name) / "applied.das"
        digests = {}
        for whose, text in ((("--project", "SCRIPTED"), '(0008,1030) := project'), ((), '(0008,0080) := "SITE"')):
            if whose:
                self.server.narthex("project", "create", "SCRIPTED")
            script.write_text(f'version "6.3"\n{text}\n')
            self.server.narthex("anon", "set", script, *whose)
            digests["project" if whose else "site"] = self.server.narthex("anon", "enable", *whose)["digest"][:16]
            self.addCleanup(self.server.narthex, "anon", "disable", *whose)
        for door, label in (("DICOM", "DA"), ("GRPC", "DB")):
            with self.subTest(door):
                first, late = self.images("SCRIPTED", label), self.images("SCRIPTED", label, slice(4, 6))
                send = ((lambda files: self.send("DIRECT", files)) if door == "DICOM" else
                        (lambda files: self.server.narthex("upload", *files, "--auto-archive", "auto")))

                send(first)
                self.server.wait_for(lambda: self.server.sessions(f'label = "{label}"'), "the archive")
                self.assertIsNone(self.settled(label))
                send(late)
                reference = f"SCRIPTED/{label}"
                self.server.wait_for(lambda: self.server.narthex("session", "show", reference)["fileCount"] == 6, "the merge")
                self.assertIsNone(self.settled(label))

                entries = self.server.narthex("session", "history", reference)["entries"]
                self.assertEqual({entry["action"] for entry in entries}, {"CREATE", "MERGE"})
                for entry in entries:
                    for whose, digest in digests.items():
                        self.assertIn(f"{whose} script {digest}", entry["comment"])
                codes = self.codes(reference)
                self.assertEqual(codes, {(digests["site"], digests["project"])})

    def codes(self, reference):
        """The scripts that the archived objects say they went through."""
        folder = tempfile.mkdtemp(dir=self.temporary.name)
        self.server.narthex("session", "download", reference, "-o", folder, "--verify")
        return {tuple(item.CodeValue for item in pydicom.dcmread(path).DeidentificationMethodCodeSequence)
                for path in pathlib.Path(folder).rglob("*.dcm")}

    def test_anonymization_off_keeps_what_comes_through_it_as_it_is(self):
        script = pathlib.Path(self.temporary.name) / "site.das"
        script.write_text('version "6.3"\n(0008,0080) := "CHANGED"\n-(0010,1010)\n')
        self.server.narthex("anon", "set", script)
        self.server.narthex("anon", "enable")
        self.addCleanup(self.server.narthex, "anon", "disable")
        raw, changed, uploaded = (self.images("MANUAL", label) for label in ("RAW", "CHANGED", "UPLOADED"))

        self.send("RAW", raw)
        self.send("NARTHEX", changed)
        self.server.narthex("upload", *uploaded)
        for label in ("RAW", "CHANGED", "UPLOADED"):
            row = self.row(label)
            if row["state"] == "RECEIVING":
                self.server.narthex("prearchive", "build", row["name"])
            values = {a["keyword"]: a["value"] for a in self.server.narthex(
                "prearchive", "header", row["name"], "--instance", instance_of(raw[0]))["attributes"]}
            self.assertEqual(values.get("InstitutionName") == "CHANGED", label != "RAW", label)
            self.assertEqual("PatientAge" in values, label == "RAW", label)
            self.server.narthex("prearchive", "archive", row["name"])

        self.assertEqual(self.downloaded("MANUAL/RAW"), self.data_sets(raw))
        for label, files in (("CHANGED", changed), ("UPLOADED", uploaded)):
            after = self.downloaded(f"MANUAL/{label}")
            self.assertEqual(set(after), set(map(instance_of, files)))
            for uid, data in self.data_sets(files).items():
                self.assertNotEqual(after[uid], data)
                self.assertIn(b"CHANGED", after[uid])

    def test_auto_archive_of_the_receiver_goes_before_the_projects(self):
        for receiver, project, label, goes in (("BYITSELF", "MANUAL", "A1", True), ("BYHAND", "AUTO", "A2", False),
                                               ("NARTHEX", "MANUAL", "A3", False), ("NARTHEX", "AUTO", "A4", True)):
            with self.subTest(label):
                files = self.images(project, label)
                self.send(receiver, files)
                self.server.narthex("prearchive", "build", self.row(label)["name"])

                row = self.settled(label)

                self.assertEqual(row is None, goes)
                if goes:
                    self.assertEqual(self.downloaded(f"{project}/{label}"), self.data_sets(files))
                else:
                    self.assertEqual((row["state"], row["objectCount"]), ("READY", len(files)))

    def test_idle_time_of_the_receiver_builds_what_comes_through_it(self):
        self.send("QUICK", self.images("MANUAL", "I1"))
        self.send("NARTHEX", self.images("MANUAL", "I2"))

        built = self.settled("I1")

        self.assertEqual((built["state"], built["completion"], built["objectCount"]), ("READY", "idle", 4))
        waiting = self.row("I2")
        self.assertEqual((waiting["state"], waiting["awaitedSignal"]), ("RECEIVING", "idle"))


if __name__ == "__main__":
    unittest.main()
