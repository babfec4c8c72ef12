"""Types of scans and sessions, through both doors: what XNAT leaves without a type has one, and a new type is a file, not a
release."""

import pathlib
import tempfile
import unittest

import dimse
from harness import Server, needs_shared, shared_folder
from test_races import data_set

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


class Types:
    """What holds through either door; a class below each says how its objects come."""

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
        image.PatientComments = "Project:P Subject:S Session:" + self.label
        for keyword, value in changes.items():
            setattr(image, keyword, value)
        path = pathlib.Path(tempfile.mkdtemp(dir=self.temporary.name)) / "a.dcm"
        image.save_as(path)
        return path

    def archive(self, *files):
        name = self.send(files)
        self.server.narthex("prearchive", "build", name)
        self.server.narthex("prearchive", "archive", name)
        session = self.server.narthex("session", "show", f"P/{self.label}")
        return session, self.server.narthex("session", "scans", f"P/{self.label}")["scans"]

    def test_a_new_type_is_a_file(self):
        self.label = "PA"
        session, scans = self.archive(self.copy(0, "1.2.840.10008.5.1.4.1.1.6.3", "PA"))

        self.assertEqual((session["sessionType"], session["modality"]), ("lab:paSessionData", "PA"))
        self.assertEqual([scan["scanType"] for scan in scans], ["lab:paScanData"])
        self.assertTrue(scans[0]["parameters"]["station"])

    def test_what_xnat_has_no_type_for(self):
        for label, (sop_class, modality, scan_type, resource, session_type) in GAPS.items():
            with self.subTest(label):
                self.label = label
                session, scans = self.archive(self.copy(0, sop_class, modality))
                self.assertEqual(session["sessionType"], session_type)
                self.assertEqual([scan["scanType"] for scan in scans], [scan_type])
                self.assertIn(f"/{resource}/", self.server.files(f"P/{label}")[0]["path"])
                self.assertEqual(scans[0]["quality"], "usable")

    def test_secondary_objects_and_the_leading_modality(self):
        self.label = "LEAD"
        session, scans = self.archive(
            self.copy(0), self.copy(1, "1.2.840.10008.5.1.4.1.1.128", "PT", SeriesInstanceUID="1.2.3.4", SeriesNumber=9),
            self.copy(2, "1.2.840.10008.5.1.4.1.1.7", "OT", SeriesInstanceUID="1.2.3.5", SeriesNumber=10),
            self.copy(3, SeriesInstanceUID="1.2.3.6", SeriesNumber=9))

        self.assertEqual((session["sessionType"], session["modality"]), ("xnat:petmrSessionData", "PT"))
        self.assertEqual({scan["id"] for scan in scans}, {"4", "9-PT1", "9-MR1", "10"})
        paths = {file["path"].split("/")[1]: file["path"].split("/")[2] for file in self.server.files("P/LEAD")}
        self.assertEqual(paths, {"4": "DICOM", "9-PT1": "DICOM", "9-MR1": "DICOM", "10": "secondary"})


@needs_shared
class TypesByDicom(Types, unittest.TestCase):
    def send(self, files):
        import pydicom
        for path in files:
            # DCMTK's tools do not send SOP classes that they do not know.
            meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
            peer = dimse.requested(self.server.dicom_host, self.server.dicom_port, "NARTHEX", "SCU", meta.MediaStorageSOPClassUID,
                                   meta.TransferSyntaxUID)
            self.assertEqual(dimse.store(peer, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, data_set(path)), 0)
            dimse.release(peer)
        return self.server.prearchive("--project", "P")[0]["name"]


@needs_shared
class TypesByGrpc(Types, unittest.TestCase):
    def send(self, files):
        return self.server.narthex("upload", *files, "--no-commit")["outcomes"][0]["prearchiveSession"]


@needs_shared
class Parameters(unittest.TestCase):
    """What scanners wrote into real headers is what the scans say, and finds them."""

    # Parameter -> attribute; (attribute, functional group's sequence) of enhanced objects.
    WANTED = {"MR": {"tr": "RepetitionTime", "te": "EchoTime", "flip": "FlipAngle", "voxelRes.z": "SliceThickness"},
              "CT": {"kvp": "KVP", "gantryTilt": "GantryDetectorTilt", "convolutionKernel": "ConvolutionKernel"},
              "PT": {"units": "Units", "numberOfSlices": "NumberOfSlices", "decayCorrection": "DecayCorrection"},
              "ENHANCED": {"tr": ("RepetitionTime", "MRTimingAndRelatedParametersSequence"),
                           "flip": ("FlipAngle", "MRTimingAndRelatedParametersSequence")}}
    STUDIES = {"MR": "dicom-mr-ge-mr750/mr_0004/*.dcm", "CT": "dicom-ct-ge-hispeed/**/*.dcm",
               "PT": "dicom-petct-ge-discovery-tcia/pt_ac/*", "ENHANCED": "dicom-mr-enhanced-multiframe/Philips/*.dcm"}

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P")

    def test_parameters_are_what_the_headers_say(self):
        for door in ("GRPC", "DICOM"):
            self.server.narthex("receiver", "create", door, "--project", "P", "--subject", door)
            for kind, pattern in self.STUDIES.items():
                with self.subTest(door=door, kind=kind):
                    files = sorted(path for path in (shared_folder() / "data").glob(pattern) if path.is_file())[:4]
                    self.check(door, kind, files)

    def check(self, door, kind, files):
        import pydicom
        if door == "GRPC":
            self.server.narthex("upload", *files, "--project", "P", "--subject", door, "--session", kind, "--no-commit")
        else:
            self.server.storescu("-aec", door, "-R", "-xt" if kind == "PT" else "-xe", "--to", *files)
        row, = self.server.prearchive("--project", "P")
        self.server.narthex("prearchive", "build", row["name"])
        label = f"{kind}_{door}"
        self.server.narthex("prearchive", "update", row["name"], "--label", label)
        self.server.narthex("prearchive", "archive", row["name"])

        scans = {scan["seriesInstanceUid"]: scan for scan in self.server.narthex("session", "scans", f"P/{label}")["scans"]}
        compared = 0
        for path in files:
            image = pydicom.dcmread(path, stop_before_pixels=True)
            parameters = scans[image.SeriesInstanceUID]["parameters"]
            for name, attribute in self.WANTED[kind].items():
                if isinstance(attribute, tuple):
                    group = image.SharedFunctionalGroupsSequence[0]
                    if attribute[1] not in group:
                        group = image.PerFrameFunctionalGroupsSequence[0]
                    value = getattr(group, attribute[1])[0].get(attribute[0])
                else:
                    value = image.get(attribute)
                if value is None:
                    continue
                compared += 1
                self.assertIn(name, parameters, path)
                if isinstance(value, str):
                    self.assertEqual(parameters[name], value)
                else:
                    self.assertAlmostEqual(float(parameters[name].split(",")[0]), float(value), places=2)
        self.assertGreaterEqual(compared, 2)
        if kind in ("MR", "ENHANCED"):
            found = self.server.narthex("session", "search", "--scans", 'scans.parameters.tr:* AND project = "P"')["scans"]
            self.assertIn(label, {scan["label"] for scan in found})


if __name__ == "__main__":
    unittest.main()
