"""DicomEdit's export: values that scripts keep for the session, from the site's script at arrival and the project's on the
way into the archive, through both doors, on real images."""

import pathlib
import shutil
import tempfile
import unittest

import pydicom

from harness import Server, needs_shared, shared_folder

SITE = """version "6.6"
station := (0008,1010)
kvp := lowercase[(0008,0060)]
number := (0020,0013)
export station "xnat:imageSessionData/fields/field[name=station]/field"
export kvp "fields/modality_name"
export number "fields/instance"
(0008,1010) := "gone"
"""
PROJECT = """version "6.6"
remark := concatenate["seen as ", (0008,0060)]
who := "Radiographer 7"
site := "Center 3"
export remark "xnat:mrSessionData/note"
export who "xnat:mrSessionData/operator"
export site "xnat:mrSessionData/acquisition_site"
export remark "fields/dose"
export who "fields/coil"
export session "fields/modality_name"
export session "xnat:mrSessionData/label"
"""


@needs_shared
class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-export-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.images = []
        for path in sorted((shared_folder() / "data/dicom-mr-siemens-skyra").rglob("*.dcm"))[:3]:
            data = pydicom.dcmread(path)
            data.StationName = "MRSTATION42"
            data.save_as(cls.folder / path.name)
            cls.images.append(cls.folder / path.name)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        cls.server.narthex("anon", "set", cls.script(SITE))
        cls.server.narthex("anon", "enable")
        cls.server.narthex("anon", "set", cls.script(PROJECT), "--project", "P1")
        cls.server.narthex("anon", "enable", "--project", "P1")
        cls.server.narthex("project", "field", "set", "P1", "dose", "--type", "integer")

    @classmethod
    def script(cls, text):
        path = cls.folder / "script.das"
        path.write_text(text)
        return path

    def differing(self):
        numbers = [str(pydicom.dcmread(path).InstanceNumber) for path in self.images]
        return sum(number != numbers[0] for number in numbers)

    def expect_exported(self, reference, first):
        session = self.server.narthex("session", "show", reference)
        self.assertEqual(session["note"], "seen as MR")
        # The project's script comes later than the site's.
        self.assertEqual(session["fields"], {"station": "MRSTATION42", "instance": first, "coil": "Radiographer 7",
                                             "modality_name": session["label"]})
        document = self.server.run("--output", "table", "session", "show", reference, "--xml").stdout
        for text in ("<xnat:note>seen as MR</xnat:note>", "<xnat:acquisition_site>Center 3<", "<xnat:operator>Radiographer 7</xnat:operator>",
                     '<xnat:field name="station">MRSTATION42', '<xnat:field name="coil">Radiographer 7'):
            self.assertIn(text, document)
        history = str(self.server.narthex("session", "history", reference))
        self.assertIn("exported by a script: acquisition_site, coil, instance, modality_name, note, operator, station",
                      history)
        # The field is an integer, and the remark is not.
        self.assertIn("not exported: dose (does not fit what the project defines)", history)
        self.assertIn(f"of which the first was taken: instance ({self.differing()})", history)
        for value in ("MRSTATION42", "Radiographer", "Center 3", "seen as"):
            self.assertNotIn(value, history)

    def test_a_what_scripts_export_comes_into_the_archive_by_both_doors(self):
        self.server.narthex("upload", *self.images, "--project", "P1", "--subject", "S1", "--session", "GRPC")
        for what, value in (("project", "P1"), ("subject", "S1")):
            self.server.narthex("settings", "set", f"routing.{what}_rules", f"(0008,0060):(.*):1 t:MR r:{value}")
        self.server.storescu("--to", *self.images)
        sessions = {s["source"]: s for s in self.server.prearchive("--project", "P1")}
        self.assertEqual(set(sessions), {"grpc", "dicom"})
        self.server.narthex("prearchive", "update", sessions["dicom"]["name"], "--label", "PUSHED")
        first = str(pydicom.dcmread(self.images[0]).InstanceNumber)

        for source, label in (("grpc", "GRPC"), ("dicom", "PUSHED")):
            name = sessions[source]["name"]
            if self.server.narthex("prearchive", "show", name)["state"] == "RECEIVING":
                self.server.narthex("prearchive", "build", name)
            shown = {e["field"]: e for e in self.server.narthex("prearchive", "show", name)["exported"]}
            self.assertEqual({field: e["value"] for field, e in shown.items()},
                             {"fields/station": "MRSTATION42", "fields/modality_name": "mr", "fields/instance": first})
            self.assertEqual(shown["fields/instance"]["differingCount"], self.differing())
            table = self.server.run("--output", "table", "prearchive", "show", name).stdout
            self.assertIn("exported by the site's script", table)
            self.server.narthex("prearchive", "archive", name)
            self.expect_exported(f"P1/{label}", first)
        self.assertNotIn("MRSTATION42", self.server.log_text())

    def test_b_a_preview_shows_it_and_the_check_knows_what_is_not_written(self):
        self.server.narthex("upload", *self.images, "--project", "P2", "--subject", "S2", "--session", "E2")
        session = self.server.prearchive("--project", "P2")[0]["name"]
        script = self.script(PROJECT)

        preview = self.server.narthex("anon", "preview", script, "--project", "P2", "--prearchive", session)
        one = self.server.narthex("anon", "preview", script, "--project", "P2", "--file", self.images[0])
        checked = self.server.narthex("anon", "check", script)

        for answer in (preview, one):
            exported = {e["field"]: e["value"] for e in answer["exported"]}
            self.assertEqual(exported["note"], "seen as MR")
            self.assertEqual(exported["fields/coil"], "Radiographer 7")
            self.assertNotIn("label", exported)
        last = PROJECT.count("\n")
        self.assertEqual([(d["line"], d["code"]) for d in checked["diagnostics"]], [(last, "EXPORT")])

    def test_c_a_merge_fills_what_the_session_has_not(self):
        arguments = ("--project", "P2", "--subject", "S3", "--session", "MERGED")
        self.server.narthex("upload", self.images[0], *arguments)
        self.archive("P2", "MERGED")
        self.assertEqual(self.server.narthex("session", "show", "P2/MERGED").get("note", ""), "")
        self.server.narthex("session", "update", "P2/MERGED", "--note", "of a person")
        self.server.narthex("session", "field", "remove", "P2/MERGED", "instance")
        self.server.narthex("anon", "set", self.script(PROJECT), "--project", "P2")
        self.server.narthex("anon", "enable", "--project", "P2")
        self.addCleanup(self.server.narthex, "anon", "disable", "--project", "P2")

        self.server.narthex("upload", self.images[1], *arguments)
        self.archive("P2", "MERGED", "--conflict", "append")

        merged = self.server.narthex("session", "show", "P2/MERGED")
        self.assertEqual(merged["note"], "of a person")
        self.assertEqual(merged["fields"]["modality_name"], "mr")
        self.assertEqual(merged["fields"]["coil"], "Radiographer 7")
        self.assertEqual(merged["fields"]["instance"], str(pydicom.dcmread(self.images[1]).InstanceNumber))
        history = str(self.server.narthex("session", "history", "P2/MERGED"))
        self.assertIn("kept as the session had them, though exported otherwise: modality_name, note", history)
        self.assertEqual(self.server.narthex("session", "check", "P2/MERGED").get("findings", []), [])

    def archive(self, project, label, *flags):
        session = next(s for s in self.server.prearchive("--project", project) if s["label"] == label)
        if session["state"] == "RECEIVING":
            self.server.narthex("prearchive", "build", session["name"])
        self.server.narthex("prearchive", "archive", session["name"], *flags)

    def test_d_a_move_exports_what_its_script_says(self):
        self.server.narthex("upload", *self.images, "--project", "P2", "--subject", "S4", "--session", "MOVED")
        self.archive("P2", "MOVED")
        self.server.narthex("settings", "set", "anonymization.on_move", "on")
        self.addCleanup(self.server.narthex, "settings", "set", "anonymization.on_move", "off")

        self.server.narthex("session", "update", "P2/MOVED", "--project", "P1")

        moved = self.server.narthex("session", "show", "P1/MOVED")
        self.assertEqual(moved["note"], "seen as MR")
        self.assertEqual(moved["fields"]["coil"], "Radiographer 7")
        self.assertEqual(moved["fields"]["modality_name"], "mr")
        self.assertNotIn("dose", moved["fields"])
        document = self.server.run("--output", "table", "session", "show", "P1/MOVED", "--xml").stdout
        self.assertIn("<xnat:acquisition_site>Center 3</xnat:acquisition_site>", document)
        self.assertIn("<xnat:operator>Radiographer 7</xnat:operator>", document)
        history = str(self.server.narthex("session", "history", "P1/MOVED"))
        self.assertIn("kept as the session had them, though exported otherwise: modality_name", history)
        self.assertEqual(self.server.narthex("session", "check", "P1/MOVED").get("findings", []), [])


if __name__ == "__main__":
    unittest.main()
