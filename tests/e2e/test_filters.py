"""Series import filters of site and project, at arrival, through both doors, on real images."""

import collections
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import Server, needs_shared, shared_folder


@needs_shared
class Filters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        data = shared_folder() / "data"
        cls.images = data / "dicom-mr-ge-mr750"
        cls.series = collections.Counter()  # objects by series description
        for line in (data / "MANIFEST.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["path"].startswith("dicom-mr-ge-mr750/") and entry.get("dicom"):
                cls.series[cls.description(data / entry["path"])] += 1
        cls.total = sum(cls.series.values())
        cls.unwanted = min(cls.series, key=cls.series.get)

    @staticmethod
    def description(path):
        import pydicom
        return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesDescription"]).SeriesDescription)

    def tearDown(self):
        for row in self.server.prearchive():
            self.server.narthex("prearchive", "delete", row["name"])
        for flags in ([], ["--project", "P1"]):
            self.server.narthex("filter", "disable", *flags)
        self.server.narthex("settings", "set", "filters.filtered_status", "success")

    def set_filter(self, text, *flags, code=0):
        file = self.folder / "filter.txt"
        file.write_text(text)
        if "--mode" not in flags:
            flags = (*flags, "--mode", "deny")
        answer = self.server.narthex("filter", "set", file, *flags, code=code)
        if code == 0:
            scope = list(flags[flags.index("--project"):][:2]) if "--project" in flags else []
            answer = self.server.narthex("filter", "enable", *scope)
        return answer

    def upload_images(self, project):
        """All of the folder; not all of its files are DICOM, so the exit code does not count."""
        return self.server.narthex("upload", self.images, "--project", project, "--no-commit", code=None)

    def escape(self, text):
        return "".join("\\" + c if c in ".^$*+?()[]{}|\\" else c for c in text)

    def test_a_deny_list_of_the_site_through_both_doors(self):
        self.set_filter(f"# not these\n^{self.escape(self.unwanted)}$\n", "--mode", "deny")
        kept = self.total - self.series[self.unwanted]

        answer = self.upload_images("P1")
        outcomes = [o for o in answer["outcomes"] if o["outcome"] != "REJECTED"]
        filtered = [o for o in outcomes if o["outcome"] == "FILTERED"]
        self.assertEqual((len(outcomes) - len(filtered), len(filtered)), (kept, self.series[self.unwanted]))
        self.assertEqual({(o["reason"], o["detail"]) for o in filtered},
                         {("SERIES_FILTER", "site filter: deny-list line 2 (SeriesDescription)")})
        self.server.storescu("-aec", "NARTHEX", "--to", *sorted(self.images.rglob("*.dcm")))  # success for all of them

        for row in self.server.prearchive():
            self.assertEqual(row["objectCount"], kept)
        self.server.check_invariants(self)

    def test_the_sender_is_told_where_that_is_set(self):
        self.set_filter("[Modality]\n^MR$")
        image = next(path for path in sorted(self.images.rglob("*")) if path.suffix == ".dcm")
        self.server.storescu("--to", image)
        self.server.narthex("settings", "set", "filters.filtered_status", "refusal")
        refused = subprocess.run(["storescu", "-d", "-aec", "NARTHEX", "127.0.0.1", self.server.dicom_port, image],
                                 capture_output=True, text=True)
        self.assertIn("0xc03e", (refused.stdout + refused.stderr).lower())
        self.assertIn("SERIES_FILTER", refused.stdout + refused.stderr)
        self.server.narthex("receiver", "update", "NARTHEX", "--filtered", "success")
        quiet = subprocess.run(["storescu", "-d", "-aec", "NARTHEX", "127.0.0.1", self.server.dicom_port, image],
                               capture_output=True, text=True)
        self.server.narthex("receiver", "update", "NARTHEX", "--filtered", "")
        self.assertIn("0x0000: Success", quiet.stdout + quiet.stderr)
        self.assertEqual(self.server.prearchive(), [], "filtered objects make no session")

    def push_images(self, project):
        """All of them, by DICOM."""
        if project not in [r["aeTitle"] for r in self.server.narthex("receiver", "list")["receivers"]]:
            self.server.narthex("receiver", "create", project, "--project", project)
        self.server.storescu("-aec", project, "--to", *sorted(self.images.rglob("*.dcm")))

    def test_a_project_filter_counts_in_the_session_that_exists(self):
        self.check_project_filter(self.upload_images)

    def test_a_project_filter_counts_by_dicom_too(self):
        self.check_project_filter(self.push_images)

    def check_project_filter(self, send):
        send("P1")
        before = self.server.prearchive()[0]
        self.set_filter(self.escape(self.unwanted), "--project", "P1", "--mode", "allow")

        send("P1")
        send("P2")

        after = [row for row in self.server.prearchive() if row["project"] == "P1"][0]
        filtered = self.total - self.series[self.unwanted]
        self.assertEqual(after["outcomeCounts"].get("FILTERED"), filtered)
        self.assertEqual(after["objectCount"], before["objectCount"])
        other = [row for row in self.server.prearchive() if row["project"] == "P2"][0]
        self.assertNotIn("FILTERED", other["outcomeCounts"])
        self.server.check_invariants(self)

    def test_a_modality_map_and_the_explanation(self):
        image = next(path for path in sorted(self.images.rglob("*")) if path.suffix == ".dcm")
        self.set_filter("exclude: '#Manufacturer#' ~ '^GE'\nMR: '#Modality#' == 'MR'\n", "--mode", "modality-map")

        explained = self.server.narthex("routing", "test", image, "--project", "P1")

        self.assertTrue(explained["filtered"])
        self.assertEqual(explained["filters"][0]["reason"], "modality map line 1 (exclude)")
        answer = self.server.narthex("upload", image, "--project", "P1", "--no-commit")
        self.assertEqual(answer["outcomes"][0]["outcome"], "FILTERED")
        self.push_images("P1")
        self.assertEqual(self.server.prearchive(), [], "every image is GE's")

    def test_exists_and_what_does_not_through_both_doors(self):
        """Of a real image and a copy that lacks the attribute each door keeps the same one."""
        image = next(path for path in sorted(self.images.rglob("*")) if path.suffix == ".dcm")
        bare = self.folder / "bare.dcm"
        shutil.copyfile(image, bare)
        subprocess.run(["dcmodify", "-nb", "-ea", "ProtocolName", "-gin", bare], check=True, capture_output=True)
        for rule, kept in (("EXISTS", bare), ("!EXISTS", image)):
            self.set_filter(f"[ProtocolName]\n{rule}\n")
            for door in ("GRPC", "DICOM"):
                with self.subTest(rule=rule, door=door):
                    if door == "GRPC":
                        self.server.narthex("upload", image, bare, "--project", "P1", "--no-commit")
                    else:
                        self.server.storescu("--to", image, bare)
                    row, = self.server.prearchive()
                    outcomes = self.server.narthex("prearchive", "outcomes", row["name"])["outcomes"]
                    import pydicom
                    self.assertEqual([o["sopInstanceUid"] for o in outcomes if o["outcome"] == "STORED"],
                                     [str(pydicom.dcmread(kept, stop_before_pixels=True).SOPInstanceUID)])
                    self.server.narthex("prearchive", "delete", row["name"])

    def test_a_wrong_filter_is_refused_and_the_old_one_stays(self):
        self.set_filter("localizer")
        answer = self.set_filter("fine\n[NoSuchTag]\nx(", code=1)
        self.assertEqual(answer["error"]["reason"], "INVALID_SCRIPT")
        self.assertEqual(self.server.narthex("filter", "get")["text"], "localizer")
        self.assertEqual(self.server.narthex("filter", "set", self.folder / "filter.txt", "--project", "NONE",
                                             code=1)["error"]["reason"], "INVALID_SCRIPT")

    def test_filters_outlive_a_restart(self):
        self.set_filter("[Modality]\n^MR$")
        self.server.stop()
        self.server.start()
        answer = self.upload_images("P1")
        self.assertEqual({o["outcome"] for o in answer["outcomes"]} - {"REJECTED"}, {"FILTERED"})


if __name__ == "__main__":
    unittest.main()
