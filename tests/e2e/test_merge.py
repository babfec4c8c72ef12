"""Merging into archived sessions on real images, through both doors: what is added, replaced and kept, under which scan
ids, told by catalogs, history, rows and files alike."""

import pathlib
import shutil
import subprocess
import tempfile
import threading
import unittest
import xml.etree.ElementTree

from harness import Server, needs_shared, shared_folder

CATALOG = "{http://nrg.wustl.edu/catalog}"


def verify(server):
    """narthex-verify on the stopped server's data."""
    result = server.verify()
    return result.returncode, result.stdout + result.stderr


def counts(added=0, replaced=0, kept=0):
    return {"addedCount": added, "replacedCount": replaced, "keptCount": kept}


def modify(files, *changes):
    subprocess.run(["dcmodify", "-nb", *[word for change in changes for word in ("-i", change)], *map(str, files)],
                   check=True, capture_output=True)


def make_other(files, modality, sop_class):
    import pydicom
    for file in files:
        image = pydicom.dcmread(file)
        image.Modality = modality
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
        image.save_as(file)


@needs_shared
class Merge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        source = shared_folder() / "data/dicom-mr-ge-mr750"
        cls.source = {series: sorted((source / f"mr_000{series}").glob("*.dcm"))[:6] for series in (4, 5)}
        for project in ("GRPC", "DICOM"):
            cls.server.narthex("project", "create", project)

    def copy(self, series, numbers=slice(None)):
        """Copies of a real series' files in a folder of their own."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name))
        return [pathlib.Path(shutil.copy(file, folder)) for file in self.source[series][numbers]]

    def send(self, door, files, label):
        """Leaves a built session; its name."""
        if door == "GRPC":
            self.server.narthex("upload", *files, "--project", door, "--subject", "S", "--session", label, "--no-commit")
        else:
            modify(files, f"PatientComments=Project:{door} Subject:S Session:{label}")
            self.server.storescu("--to", *files)
        row, = [s for s in self.server.prearchive("--project", door) if s["label"] == label]
        self.server.narthex("prearchive", "build", row["name"])
        return row["name"]

    def archive(self, name, *flags, code=0):
        return self.server.narthex("prearchive", "archive", name, *flags, code=code)

    def scans(self, reference):
        return {scan["id"]: scan for scan in self.server.narthex("session", "scans", reference)["scans"]}

    def catalog(self, reference, scan, label="DICOM"):
        path = self.server.data_dir / "d/archive" / reference.replace("/", "/arc001/") / "SCANS" / scan / label
        name = f"scan_{scan}_catalog.xml" if label == "DICOM" else f"scan_{scan}_{label}_catalog.xml"
        root = xml.etree.ElementTree.parse(path / name).getroot()
        audit = root.find(f"{CATALOG}metaFields/{CATALOG}metaField[@name='AUDIT']").text
        on_disk = {file.name for file in path.iterdir()} - {name}
        entries = {entry.get("URI"): entry for entry in root.iter(f"{CATALOG}entry")}
        self.assertEqual(set(entries), on_disk)
        return entries, audit

    def test_append_adds_and_keeps(self):
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                reference = f"{door}/APPEND"
                self.archive(self.send(door, self.copy(4, slice(0, 3)), "APPEND"))
                first = {f["path"]: f["sha256"] for f in self.server.files(reference)}
                changed = self.copy(4)
                modify(changed[:1], "ImageComments=changed later")

                again = self.send(door, changed + self.copy(5), "APPEND")
                refused = self.server.narthex("prearchive", "check", again)
                answer = self.archive(again, "--conflict", "append")

                self.assertFalse(refused.get("archivable", False))
                codes = {conflict["code"] for conflict in refused["conflicts"]}
                self.assertLessEqual({1, 14, 16}, codes)
                self.assertEqual(answer["mergeResult"], counts(added=9, kept=3))
                self.assertEqual(answer["fileCount"], 12)
                self.assertEqual({i: s["fileCount"] for i, s in self.scans(reference).items()}, {"4": 6, "5": 6})
                self.assertEqual(self.scans(reference)["4"]["frames"], 6)
                files = {f["path"]: f["sha256"] for f in self.server.files(reference)}
                self.assertEqual({path: files[path] for path in first}, first)
                entries, audit = self.catalog(reference, "4")
                self.assertRegex(audit, r"=Added:3\|.*=Added:3$")
                self.assertEqual(len({entry.get("createdEventId") for entry in entries.values()}), 2)
                history = self.server.narthex("session", "history", reference)["entries"]
                self.assertIn("MERGE", {entry["action"] for entry in history})
                self.assertIn("9 files added, 0 replaced, 3 kept", str(history))

    def test_overwrite_replaces_what_has_the_same_instance_uid(self):
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                reference = f"{door}/OVER"
                self.archive(self.send(door, self.copy(4, slice(0, 3)), "OVER"))
                before = {f["instanceUid"]: f for f in self.server.files(reference)}
                changed = self.copy(4, slice(0, 2))
                modify(changed, "ImageComments=changed later")

                answer = self.archive(self.send(door, changed, "OVER"), "--conflict", "overwrite")

                self.assertEqual(answer["mergeResult"], counts(replaced=2))
                after = {f["instanceUid"]: f for f in self.server.files(reference)}
                self.assertEqual(set(after), set(before))
                self.assertEqual(sum(after[uid]["sha256"] != before[uid]["sha256"] for uid in after), 2)
                entries, audit = self.catalog(reference, "4")
                self.assertRegex(audit, r"=Added:3\|.*=Replaced:2$")
                replaced = [entry for entry in entries.values() if entry.get("modifiedBy")]
                self.assertEqual(len(replaced), 2)
                self.assertNotEqual(replaced[0].get("modifiedEventId"), replaced[0].get("createdEventId"))
                with tempfile.TemporaryDirectory() as download:
                    self.server.narthex("session", "download", reference, "-o", download, "--verify")
                    self.assertEqual(len(list(pathlib.Path(download).rglob("*.dcm"))), 3)

    def test_another_series_of_the_same_number_gets_an_id_of_its_own(self):
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                reference = f"{door}/NUMBER"
                self.archive(self.send(door, self.copy(4, slice(0, 2)), "NUMBER"))
                others = self.copy(5, slice(0, 2))
                modify(others, "SeriesNumber=4")
                more = self.copy(5, slice(2, 4))
                modify(more, "SeriesNumber=4")

                name = self.send(door, others, "NUMBER")
                codes = {c["code"] for c in self.server.narthex("prearchive", "check", name)["conflicts"]}
                self.archive(name, "--conflict", "append")
                answer = self.archive(self.send(door, more, "NUMBER"), "--conflict", "append")

                self.assertIn(17, codes)
                self.assertEqual(answer["mergeResult"], counts(added=2))
                self.assertEqual({i: s["fileCount"] for i, s in self.scans(reference).items()}, {"4": 2, "4-MR1": 4})
                self.assertEqual(len(self.catalog(reference, "4-MR1")[0]), 4)

    def test_no_policy_and_other_studies_are_refused(self):
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                self.archive(self.send(door, self.copy(4, slice(0, 2)), "GUARD"))
                again = self.send(door, self.copy(5, slice(0, 2)), "GUARD")
                self.archive(again, code=None)
                self.assertEqual(self.server.narthex("prearchive", "show", again)["state"], "CONFLICT")
                self.server.narthex("prearchive", "delete", again)
                other = self.copy(5, slice(0, 2))
                modify(other, "StudyInstanceUID=1.2.826.0.1.3680043.2.1125.77")
                name = self.send(door, other, "GUARD")
                self.archive(name, "--conflict", "overwrite", code=None)
                shown = self.server.narthex("prearchive", "show", name)
                self.assertEqual(shown["state"], "CONFLICT")
                self.assertIn(5, {conflict["code"] for conflict in shown["conflicts"]})
                self.assertEqual(self.server.narthex("session", "show", f"{door}/GUARD")["fileCount"], 2)

    def test_images_of_another_modality_are_refused_and_reports_are_not(self):
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                self.check_other_modalities(door)

    def check_other_modalities(self, door):
        first = self.copy(4, slice(0, 2))
        self.archive(self.send(door, first, "CROSS"))
        ct = self.copy(5, slice(0, 2))
        make_other(ct, "CT", "1.2.840.10008.5.1.4.1.1.2")
        name = self.send(door, ct, "CROSS")
        self.archive(name, "--conflict", "append", code=None)
        shown = self.server.narthex("prearchive", "show", name)
        self.assertIn(19, {conflict["code"] for conflict in shown["conflicts"]})
        self.server.narthex("prearchive", "delete", name)
        capture = self.copy(5, slice(0, 1))
        modify(capture, "SeriesNumber=99")
        make_other(capture, "SC", "1.2.840.10008.5.1.4.1.1.7")

        answer = self.archive(self.send(door, capture, "CROSS"), "--conflict", "append")

        self.assertEqual(answer["mergeResult"], counts(added=1))
        self.assertEqual(answer["sessionType"], "xnat:mrSessionData")
        self.assertEqual(len(self.catalog(f"{door}/CROSS", "99", "secondary")[0]), 1)

    def test_the_modality_guard_can_be_switched_off(self):
        self.addCleanup(self.server.narthex, "settings", "set", "archive.modality_guard", "")
        for door in ("GRPC", "DICOM"):
            with self.subTest(door):
                self.addCleanup(self.server.narthex, "project", "update", door, "--modality-guard", "site")
                self.check_guard(door)

    def check_guard(self, door):
        def coming(label):
            self.archive(self.send(door, self.copy(4, slice(0, 2)), label))
            ct = self.copy(5, slice(0, 2))
            make_other(ct, "CT", "1.2.840.10008.5.1.4.1.1.2")
            return self.send(door, ct, label)

        def found(name):
            check = self.server.narthex("prearchive", "check", name, code=None)
            return [conflict["type"] for conflict in check["conflicts"] if conflict["code"] == 19]

        name = coming("UNGUARDED")
        for site, project, type_ in (("", "site", "FAIL"), ("off", "site", "WARN"), ("off", "on", "FAIL"),
                                     ("", "off", "WARN")):
            self.server.narthex("settings", "set", "archive.modality_guard", site)
            answer = self.server.narthex("project", "update", door, "--modality-guard", project)
            self.assertEqual(answer["modalityGuard"],
                             {"site": "MODE_UNSPECIFIED", "on": "ON", "off": "OFF"}[project])
            self.assertEqual(found(name), [type_])

        answer = self.archive(name, "--conflict", "append")

        self.assertEqual(answer["mergeResult"], counts(added=2))
        self.assertEqual({scan["modality"] for scan in self.scans(f"{door}/UNGUARDED").values()}, {"MR", "CT"})
        self.assertEqual(answer["fileCount"], 4)

    def test_two_archivals_of_one_label_at_once(self):
        names = []
        for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
            files = self.copy(4, part)
            # Sessions of their own, which get one label afterwards.
            names.append(self.send("GRPC", files, f"RACE{part.start}"))
        for name in names:
            self.server.narthex("prearchive", "update", name, "--label", "RACE")
        threads = [threading.Thread(target=self.archive, args=(name, "--conflict", "append"), kwargs={"code": None})
                   for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        session = self.server.narthex("session", "show", "GRPC/RACE")
        self.assertEqual(session["fileCount"], 6)
        self.assertEqual(self.scans("GRPC/RACE")["4"]["fileCount"], 6)
        self.assertEqual(len(self.catalog("GRPC/RACE", "4")[0]), 6)

    def test_two_archivals_without_policy_one_wins(self):
        names = [self.send("GRPC", self.copy(4, part), f"WIN{part.start}") for part in (slice(0, 2), slice(2, 4))]
        for name in names:
            self.server.narthex("prearchive", "update", name, "--label", "WIN")
        codes = []
        threads = [threading.Thread(target=lambda name=name: codes.append(self.server.run("prearchive", "archive", name)
                                                                          .returncode)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.assertEqual(sorted(code == 0 for code in codes), [False, True])
        left, = [row for row in self.server.prearchive("--project", "GRPC") if row["label"] == "WIN"]
        self.assertEqual(left["state"], "CONFLICT")
        self.assertEqual(self.server.narthex("session", "show", "GRPC/WIN")["fileCount"], 2)

    def test_a_merge_into_a_quarantined_or_deleted_session(self):
        self.archive(self.send("GRPC", self.copy(4, slice(0, 2)), "QUAR"))
        answer = self.archive(self.send("GRPC", self.copy(4, slice(2, 4)), "QUAR"), "--conflict", "append", "--quarantine")
        self.assertEqual(answer["status"], "QUARANTINE")
        self.assertEqual(answer["fileCount"], 4)
        self.server.narthex("session", "delete", "GRPC/QUAR")

        fresh = self.archive(self.send("GRPC", self.copy(4, slice(4, 6)), "QUAR"), "--conflict", "append")

        self.assertNotEqual(fresh["accessionId"], answer["accessionId"])
        self.assertEqual(fresh["fileCount"], 2)


if __name__ == "__main__":
    unittest.main()
