"""The form of XNAT's session documents: which elements, in which order, how many, of which type, for each kind of session and scan.

    problems = xnat_form.problems(text)     # of a session or a scan; [] if it is as it should be

Names, order and types are those of XNAT's schema as far as a server that reads DICOM fills them. What is beyond it is in EXTENSIONS.
"""

import datetime
import re
import xml.etree.ElementTree as xml

XNAT = "{http://nrg.wustl.edu/xnat}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def matches(pattern):
    return lambda text: re.fullmatch(pattern, text) is not None


def parses(parse):
    def check(text):
        try:
            parse(text)
        except ValueError:
            return False
        return True
    return check


def text(most=None):
    return lambda value: most is None or len(value) <= most


string, date, time, number = text(), parses(datetime.date.fromisoformat), parses(datetime.time.fromisoformat), parses(float)
moment = parses(datetime.datetime.fromisoformat)
integer, count = matches(r"[+-]?\d+"), matches(r"\d+")
uid = matches(r"\S{1,64}")  # real ones are not always made of digits and dots
label = matches(r"[A-Za-z0-9_.-]{1,64}")
MANY = 10 ** 9


class Element:
    """`children`: (name, type or Element, how many at most), in order. `content`: of the element's own text."""

    def __init__(self, children=(), attributes=(), required=(), content=None):
        self.children, self.attributes, self.required, self.content = list(children), dict(attributes), set(required), content


def several(*names, type=string):
    return [(name, type, 1) for name in names]


XY = Element(attributes={"x": number, "y": number})
XYZ = Element(attributes={"x": number, "y": number, "z": number, "units": string})
CATALOG = Element(attributes={"label": string, "URI": string, "format": string, "content": string, "file_count": count,
                              "file_size": count, XSI_TYPE: matches("xnat:resourceCatalog")},
                  required={"label", "URI", "file_count", "file_size", XSI_TYPE})
SHARING = Element([("share", Element(attributes={"label": label, "project": label}, required={"project"}), MANY)])
FIELDS = Element([("field", Element(attributes={"name": string}, required={"name"}, content=string), MANY)])
SCANNER = Element(attributes={"manufacturer": string, "model": string}, content=string)
SCAN_SCANNER = Element(attributes={"manufacturer": string, "model": string, "softwareVersion": string}, content=string)
CONTRASTS = Element([("contrastBolusV2", Element([("agent", string, 1)]), MANY)])
ADDED = ("addParam", Element(attributes={"name": string}, required={"name"}, content=string), MANY)

MR_PARAMETERS = Element([
    ("voxelRes", XYZ, 1), *several("orientation", "subjectPosition"), ("fov", XY, 1), ("matrix", XY, 1),
    *several("partitions", type=integer), *several("tr", "te", "deltaTE", "ti", "flip", type=number),
    *several("sequence", "origin", "imageType", "scanSequence", "seqVariant", "scanOptions", "acqType", "coil"),
    ("pixelBandwidth", number, 1),
    ("diffusion", Element([("bValues", string, 1), *several("directionality"), ("orientations", string, 1),
                           *several("anisotropyType")]), 1), ADDED])
CT_PARAMETERS = Element([
    ("voxelRes", XYZ, 1), ("orientation", matches("Tra|Sag|Cor|.*"), 1),
    ("rescale", Element(attributes={"intercept": number, "slope": number}), 1), ("kvp", number, 1), ("acquisitionNumber", integer, 1),
    *several("imageType", "options"),
    *several("collectionDiameter", "distanceSourceToDetector", "distanceSourceToPatient", "gantryTilt", "tableHeight", type=number),
    ("rotationDirection", matches("CW|CC"), 1), *several("exposureTime", "xrayTubeCurrent", "exposure", type=number),
    *several("filter"), ("generatorPower", number, 1), ("focalSpots", Element([("focalSpot", string, MANY)]), 1),
    *several("convolutionKernel"), ("collimationWidth", Element(attributes={"single": number, "total": number}), 1),
    *several("tableSpeed", "tableFeedPerRotation", "pitchFactor", type=number),
    ("estimatedDoseSaving", Element(attributes={"modulation": string}, content=lambda value: value == "" or number(value)), 1),
    ("ctDIvol", number, 1), *several("derivation", "contrastBolus"), ("fov", XY, 1), ADDED])
# XNAT has no geometry of PET scans and no parameters of others; ours come first, by this order, and additions last.
EXTENSIONS = [("voxelRes", XYZ, 1), *several("orientation"), ("fov", XY, 1)]
PET_PARAMETERS = Element([*EXTENSIONS, *several("facility"), *several("numPlanes", "numFrames", type=integer), *several("imageType"),
                          ADDED])
OTHER_PARAMETERS = Element([*EXTENSIONS, *several("imageType"), ADDED])


def scan(own=(), parameters=OTHER_PARAMETERS):
    return Element([
        ("sharing", SHARING, 1), ("image_session_ID", matches(r"[A-Z0-9_]+_E\d{5,}"), 1), ("note", text(2500), 1), ("quality", string, 1),
        *several("condition", "series_description", "series_class"), ("documentation", text(1000), 1), ("scanner", SCAN_SCANNER, 1),
        *several("modality"), ("frames", count, 1), ("operator", text(255), 1), ("file", CATALOG, MANY), ("startTime", time, 1),
        ("start_date", date, 1), *several("requestedProcedureDescription", "protocolName", "bodyPartExamined"),
        ("contrasts", CONTRASTS, 1), *own, ("parameters", parameters, 1)],
        attributes={"ID": string, "type": string, "UID": uid, "project": label, XSI_TYPE: matches(r"xnat:\w+ScanData")},
        required={"ID", "type", "UID", XSI_TYPE})


COIL = [("coil", string, 1), ("fieldStrength", string, 1)]
SCANS = {"xnat:mrScanData": scan([*COIL, *several("marker", "stabilization")], MR_PARAMETERS), "xnat:ctScanData": scan((), CT_PARAMETERS),
         "xnat:petScanData": scan((), PET_PARAMETERS), "xnat:mrsScanData": scan(COIL, MR_PARAMETERS)}
TRACER = ("tracer", Element([("name", string, 1), ("startTime", lambda value: time(value) or moment(value), 1),
                             ("dose", Element(attributes={"units": string}, content=number), 1),
                             ("isotope", Element(attributes={"half-life": number}, content=string), 1)]), 1)
OWN = {"MRSession": COIL, "PETSession": [TRACER], "PETMRSession": [TRACER, *COIL]}


def session(own):
    return Element([
        ("sharing", SHARING, 1), ("date", date, 1), ("time", time, 1), ("duration", string, 1), ("delay", string, 1),
        ("note", text(2500), 1), *several("investigator", "validation"), ("resources", Element([("resource", CATALOG, MANY)]), 1),
        ("fields", FIELDS, 1), *several("acquisition_site"), ("subject_ID", matches(r"[A-Z0-9_]+_S\d{5,}"), 1),
        *several("age", "regions"), ("scanner", SCANNER, 1), ("operator", text(255), 1), *several("prearchivePath"),
        ("scans", Element([("scan", None, MANY)]), 1), *several("reconstructions", "assessors", "dcmAccessionNumber", "dcmPatientId",
                                                                "dcmPatientName"),
        ("dcmPatientBirthDate", date, 1), ("dcmPatientWeight", number, 1), *own],
        attributes={"ID": matches(r"[A-Z0-9_]+_E\d{5,}"), "project": label, "label": label, "session_type": string, "modality": string,
                    "UID": uid, "study_id": string},
        required={"ID", "project", "label", "UID"})


def problems(document):
    root = xml.fromstring(document)
    name = root.tag.replace(XNAT, "")
    found = []
    if name == "scan":
        compare(root, None, "scan", found)
    elif re.fullmatch(r"[A-Z]\w*Session", name):
        compare(root, session(OWN.get(name, [])), name, found)
        for required in ("subject_ID", "scans"):
            if root.find(XNAT + required) is None:
                found.append(f"{name}: no {required}")
    else:
        found.append(f"{name} is no session")
    return found


def compare(element, form, path, found):
    if form is None:
        form = SCANS.get(element.get(XSI_TYPE), scan())
    if not isinstance(form, Element):
        form = Element(content=form)
    for name, value in element.attrib.items():
        if name not in form.attributes:
            found.append(f"{path}: no attribute {name} there")
        elif not form.attributes[name](value):
            found.append(f"{path}/@{name}: {value!r}")
    found += [f"{path}: attribute {name} is missing" for name in form.required if name not in element.attrib]
    if form.content is not None and not form.content((element.text or "").strip()):
        found.append(f"{path}: {element.text!r}")
    if form.content is None and (element.text or "").strip():
        found.append(f"{path}: has text")
    order = {name: (place, inner, most) for place, (name, inner, most) in enumerate(form.children)}
    last, counts = -1, {}
    for child in element:
        name = child.tag.replace(XNAT, "")
        if name not in order:
            found.append(f"{path}: no element {name} there")
            continue
        place, inner, most = order[name]
        if place < last:
            found.append(f"{path}: {name} comes too late")
        last = max(last, place)
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > most:
            found.append(f"{path}: {name} more than {most} times")
        compare(child, inner, f"{path}/{name}", found)
