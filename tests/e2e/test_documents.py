"""Session and scan documents of real images of many kinds: in XNAT's form, kept as xml, and saying what the API says as JSON."""

import collections
import tempfile
import unittest
import xml.etree.ElementTree as xml

import pydicom

import xnat_form
from harness import Server, needs_shared, shared_folder
from rpc import Rpc

XNAT = xnat_form.XNAT
# What is uploaded of the shared images: patterns below data/.
SETS = ("dicom-mr-ge-mr750/**/*.dcm", "dicom-mr-siemens-prisma-ima/**/*", "dicom-mr-enhanced-multiframe/**/*", "dicom-ct-ge-hispeed/**/*",
        "dicom-pt-siemens-1094-tcia/**/*", "dicom-petct-ge-discovery-tcia/**/*", "dicom-burnedin-pixels/**/*", "dicom-rt-dicompyler/**/*",
        "dicom-seg-sr-pm-dcmqi/**/*", "dicom-misc-dcm4che/**/*", "dicom-pydicom-testfiles/**/*")
MOST = 12  # files of one folder: enough for each kind


class FormTest(unittest.TestCase):
    """The check of the form finds what is wrong."""
    GOOD = ('<xnat:MRSession xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ID="X_E00001" '
            'project="P" label="L" UID="1.2"><xnat:date>2020-01-31</xnat:date><xnat:subject_ID>X_S00001</xnat:subject_ID><xnat:scans>'
            '<xnat:scan xsi:type="xnat:mrScanData" ID="1" type="t" UID="1.2.3"><xnat:quality>usable</xnat:quality>'
            '<xnat:parameters><xnat:tr>2.5</xnat:tr></xnat:parameters></xnat:scan></xnat:scans></xnat:MRSession>')

    def test_what_is_wrong_is_found(self):
        self.assertEqual(xnat_form.problems(self.GOOD), [])
        for a, b in (("2020-01-31", "31.01.2020"), ('ID="1"', ""), (">2.5<", ">many<"), ("mrScanData", "mrThing"),
                     ("<xnat:date>2020-01-31</xnat:date><xnat:subject_ID>X_S00001</xnat:subject_ID>",
                      "<xnat:subject_ID>X_S00001</xnat:subject_ID><xnat:date>2020-01-31</xnat:date>"),
                     ("<xnat:quality>usable</xnat:quality>", "<xnat:quality>a</xnat:quality><xnat:quality>b</xnat:quality>"),
                     ("xnat:quality", "xnat:qualities"), ("<xnat:subject_ID>X_S00001</xnat:subject_ID>", ""), ('label="L"', 'label="a b"')):
            self.assertTrue(xnat_form.problems(self.GOOD.replace(a, b)), a)


@needs_shared
class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.server.narthex("upload", *cls.files(), cls.pet_and_mr(), "--project", "P1", "--no-commit", code=None)
        labels = set()
        for number, row in enumerate(cls.server.prearchive("--project", "P1")):
            if row["state"] == "RECEIVING":
                cls.server.narthex("prearchive", "build", row["name"])
            if row["label"].lower() in labels:
                cls.server.narthex("prearchive", "update", row["name"], "--label", f"L{number}")
            labels.add(row["label"].lower())
            cls.server.narthex("prearchive", "archive", row["name"])
        cls.sessions = cls.server.sessions()
        cls.rpc = Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    @classmethod
    def files(cls):
        taken = collections.Counter()
        for pattern in SETS:
            for path in sorted((shared_folder() / "data").glob(pattern)):
                taken[path.parent] += 1
                if path.is_file() and path.stat().st_size > 200 and taken[path.parent] <= MOST:
                    yield path

    @classmethod
    def pet_and_mr(cls):
        """A study of both kinds, of real images."""
        data = shared_folder() / "data"
        images = [next((data / "dicom-pt-siemens-1094-tcia").rglob("*.dcm")), next((data / "dicom-mr-ge-mr750").rglob("*.dcm"))]
        for number, path in enumerate(images):
            image = pydicom.dcmread(path)
            image.StudyInstanceUID, image.PatientID, image.PatientName, image.SeriesNumber = "1.2.840.77.1", "PM", "PM", number + 1
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.840.77.2.{number}"
            image.SeriesInstanceUID, image.StudyDate, image.StudyTime = f"1.2.840.77.3.{number}", "20200101", "120000"
            image.save_as(f"{cls.temporary.name}/{number}.dcm")
        return cls.temporary.name

    def ask(self, method, **request):
        answer = self.rpc.call("ArchiveService." + method, request, self.server.token)
        self.assertEqual(answer.code.name, "OK", answer.message)
        return answer.reply[0]

    def document(self, session):
        return self.ask("GetSessionDocument", name=session["name"])["xml"]

    def test_sessions_of_all_kinds_have_the_form(self):
        kinds = {session["sessionType"] for session in self.sessions}
        self.assertLessEqual({f"xnat:{kind}SessionData" for kind in ("mr", "ct", "pet", "petmr", "us", "cr", "rt", "nm")}, kinds)
        for session in self.sessions:
            document = self.document(session)
            self.assertEqual(xnat_form.problems(document), [], document)
            root = xml.fromstring(document)
            self.assertEqual((root.get("ID"), root.get("project"), root.get("label"), root.get("UID"), root.get("modality")),
                             tuple(session[name] for name in ("accessionId", "project", "label", "studyInstanceUid", "modality")))
            self.assertEqual(root.findtext(XNAT + "date", ""), session.get("sessionDate", ""))
            self.assertEqual(f"xnat:{root.tag.replace(XNAT, '').lower()}data", session["sessionType"].lower())

    def test_scans_have_the_form_and_say_what_json_says(self):
        kinds = set()
        for session in self.sessions:
            root = xml.fromstring(self.document(session))
            whole = {element.get("ID"): element for element in root.find(XNAT + "scans")}
            scans = self.ask("ListScans", session=session["name"])["scans"]
            self.assertEqual(list(whole), [scan["id"] for scan in scans])
            for scan in scans:
                text = self.ask("GetScanDocument", session=session["name"], scan=scan["id"])["xml"]
                self.assertEqual(xnat_form.problems(text), [], text)
                fragment = xml.fromstring(text)
                self.agree(fragment, scan)
                self.agree(whole[scan["id"]], scan)
                kinds.add(fragment.get(xnat_form.XSI_TYPE))
        self.assertLessEqual({"xnat:mrScanData", "xnat:ctScanData", "xnat:petScanData", "xnat:srScanData", "xnat:segScanData"}, kinds)

    def agree(self, element, scan):
        self.assertEqual((element.get("ID"), element.get("type"), element.get("UID")),
                         (scan["id"], scan.get("type", ""), scan["seriesInstanceUid"]))
        for name, key in (("series_description", "seriesDescription"), ("quality", "quality"), ("modality", "modality"),
                          ("frames", "frames")):
            self.assertEqual(element.findtext(XNAT + name, ""), str(scan.get(key, "") or ""), name)
        parameters = scan.get("parameters", {})
        for name in ("tr", "te", "flip", "kvp", "sequence"):
            found = element.findtext(f"{XNAT}parameters/{XNAT}{name}")
            if found is not None:
                self.assertEqual(found, parameters[name])

    def test_they_are_kept_as_xml_and_searched(self):
        kept = self.server.sql("SELECT data_type FROM information_schema.columns WHERE table_name = 'session_documents' "
                               "AND column_name = 'document'").strip()
        self.assertEqual(kept, "xml")
        self.assertEqual(self.server.sql("SELECT count(*) FROM session_documents WHERE document IS NOT DOCUMENT").strip(), "0")
        session, = [s for s in self.sessions if s["sessionType"] == "xnat:petmrSessionData"]
        root = xml.fromstring(self.document(session))
        for name in ("dcmPatientId", "dcmPatientName", "fieldStrength"):
            value = root.findtext(XNAT + name)
            found = self.server.sessions(f'document.{name} = "{value}" AND label = "{session["label"]}"')
            self.assertEqual([s["accessionId"] for s in found], [session["accessionId"]], name)
            self.assertEqual(self.server.sessions(f'document.{name} = "{value}x"'), [], name)
        heavy = {s["accessionId"] for s in self.server.sessions("document.dcmPatientWeight > 60")}
        weights = {}
        for one in self.sessions:
            weights[one["accessionId"]] = float(xml.fromstring(self.document(one)).findtext(XNAT + "dcmPatientWeight", "0"))
        self.assertEqual(heavy, {name for name, weight in weights.items() if weight > 60})
        self.assertTrue(heavy)


if __name__ == "__main__":
    unittest.main()
