"""Types of scans and sessions: what XNAT leaves without a type has one, and a new type is a file, not a release."""

import pathlib
import tempfile
import unittest

from harness import Server, needs_shared, shared_folder

PHOTOACOUSTIC = """
[[modality]]
codes = ["PA"]
rank = 15

[[group]]
name = "pa"
attributes = [
  { name = "wavelength", dicom = "(0018,9829)", as = "text", xml = "parameters/addParam[@name='wavelength']" },
  { name = "station", dicom = "StationName", xml = "parameters/addParam[@name='station']" },
]

[[session_type]]
name = "pa"
xsi_type = "lab:paSessionData"
element = "PASession"
modality = "PA"
rank = 15

[[scan_type]]
name = "pa"
description = "Photoacoustic image"
xsi_type = "lab:paScanData"
session_type = "pa"
modality = "PA"
modalities = ["PA"]
sop_classes = ["1.2.840.10008.5.1.4.1.1.6.3"]
attributes = ["pa"]
"""

# SOP class, modality -> scan's xsi type, resource, session type.
GAPS = {
    "SPECTRO": ("1.2.840.10008.5.1.4.1.1.4.2", "MR", "xnat:mrsScanData", "DICOM", "xnat:mrSessionData"),
    "LEGACY": ("1.2.840.10008.5.1.4.1.1.4.4", "MR", "xnat:mrScanData", "DICOM", "xnat:mrSessionData"),
    "RAW": ("1.2.840.10008.5.1.4.1.1.66", "MR", "xnat:otherDicomScanData", "secondary", "xnat:otherDicomSessionData"),
    "STATE": ("1.2.840.10008.5.1.4.1.1.11.1", "PR", "xnat:otherDicomScanData", "secondary", "xnat:otherDicomSessionData"),
}


@needs_shared
class Types(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        types = pathlib.Path(cls.temporary.name) / "types"
        types.mkdir()
        (types / "pa.toml").write_text(PHOTOACOUSTIC)
        cls.server = Server(flags=["--types-dir", str(types)])
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.source = sorted((shared_folder() / "data/dicom-mr-ge-mr750/mr_0004").glob("*.dcm"))
        cls.server.narthex("project", "create", "P")

    def copy(self, number, sop_class=None, modality=None, **changes):
        import pydicom
        image = pydicom.dcmread(self.source[number])
        if sop_class:
            image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
            image.Modality = modality
        for keyword, value in changes.items():
            setattr(image, keyword, value)
        path = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name)) / "a.dcm"
        image.save_as(path)
        return path

    def archive(self, label, *files):
        self.server.narthex("upload", *files, "--project", "P", "--subject", "S", "--session", label, "--archive")
        session = self.server.narthex("session", "show", f"P/{label}")
        return session, self.server.narthex("session", "scans", f"P/{label}")["scans"]

    def test_a_new_type_is_a_file(self):
        session, scans = self.archive("PA", self.copy(0, "1.2.840.10008.5.1.4.1.1.6.3", "PA"))

        self.assertEqual((session["sessionType"], session["modality"]), ("lab:paSessionData", "PA"))
        self.assertEqual([scan["scanType"] for scan in scans], ["lab:paScanData"])
        self.assertTrue(scans[0]["parameters"]["station"])

    def test_what_xnat_has_no_type_for(self):
        for label, (sop_class, modality, scan_type, resource, session_type) in GAPS.items():
            with self.subTest(label):
                session, scans = self.archive(label, self.copy(0, sop_class, modality))
                self.assertEqual(session["sessionType"], session_type)
                self.assertEqual([scan["scanType"] for scan in scans], [scan_type])
                self.assertIn(f"/{resource}/", self.server.files(f"P/{label}")[0]["path"])
                self.assertEqual(scans[0]["quality"], "usable")

    def test_secondary_objects_and_the_leading_modality(self):
        session, scans = self.archive(
            "LEAD", self.copy(0), self.copy(1, "1.2.840.10008.5.1.4.1.1.128", "PT", SeriesInstanceUID="1.2.3.4", SeriesNumber=9),
            self.copy(2, "1.2.840.10008.5.1.4.1.1.7", "OT", SeriesInstanceUID="1.2.3.5", SeriesNumber=10),
            self.copy(3, SeriesInstanceUID="1.2.3.6", SeriesNumber=9))

        self.assertEqual((session["sessionType"], session["modality"]), ("xnat:petmrSessionData", "PT"))
        self.assertEqual({scan["id"] for scan in scans}, {"4", "9-PT1", "9-MR1", "10"})
        paths = {file["path"].split("/")[1]: file["path"].split("/")[2] for file in self.server.files("P/LEAD")}
        self.assertEqual(paths, {"4": "DICOM", "9-PT1": "DICOM", "9-MR1": "DICOM", "10": "secondary"})


if __name__ == "__main__":
    unittest.main()
