"""Our Basic Profile beside Orthanc's and PixelMed's on all real images. Every attribute that we treat otherwise than
they do must fall into a class that docs/deidentification.md explains; anything else fails. Slow."""

import collections
import json
import re
import shutil
import unittest

import pydicom

import proof

TABLE = {}  # "00100010" -> action of the basic profile, such as "Z" or "X/Z/D"
OPTIONS = {}  # "00100010" -> what the options of PIXELMED_OPTIONS do with it: a set of "K" and "C"

# What PixelMed leaves by its fixed choice of options, so that the rest can be compared.
PIXELMED_OPTIONS = ("basic,retain-device-identity,retain-institution-identity,retain-patient-characteristics,"
                    "retain-full-dates,retain-safe-private,clean-descriptors,clean-structured-content")


def load_table():
    path = proof.SHARED / "data/facts-ps3.15-innolitics/standard/confidentiality_profile_attributes.json"
    for row in json.loads(path.read_text()):
        TABLE[row["id"].upper()] = row["basicProfile"]
        OPTIONS[row["id"].upper()] = {row.get(column) for column in (
            "rtnDevIdOpt", "rtnInstIdOpt", "rtnPatCharsOpt", "rtnLongFullDatesOpt", "cleanDescOpt",
            "cleanStructContOpt")} - {None}


def state(original, changed, path):
    """What became of an attribute: gone, empty, kept, changed."""
    if path not in changed:
        return "gone"
    if changed[path] == original[path]:
        return "kept"
    return "empty" if changed[path] in ("", "SQ0") else "changed"


def differences(original, ours, other):
    """(tag, path, what we did, what they did) for each attribute of the original that was treated differently."""
    before, mine, theirs = proof.flat(original), proof.flat(ours), proof.flat(other)
    skipped = ()
    for path in sorted(before):
        if path.startswith(skipped) or before[path] == "":
            continue
        a, b = state(before, mine, path), state(before, theirs, path)
        if before[path].startswith("SQ") and ("gone" in (a, b) or "empty" in (a, b)):
            skipped += (path + "[",)
        if a != b:
            yield path.split("/")[-1], path, a, b


def in_table(tag, a):
    """Whether what we did is what the table demands."""
    action = TABLE.get(tag, "")
    if a == "gone":
        return action.startswith("X")
    if a == "empty":
        return action.startswith(("Z", "X/Z"))
    return "D" in action or "U" in action


# Must not be touched by cleaning.
CODES = ("00080100", "00080102", "00080103", "00080105", "0008010F", "00080117")

DUMMIES = ("'19000101'", "'000000'", "'ANONYMIZED'", "'19000101000000'", "'000Y'")


def explain_orthanc(tag, path, a, b, value):
    """The class of a difference, as docs/deidentification.md names it; None: unexplained."""
    if tag.endswith("0000"):
        return "group lengths"
    if tag in ("00100010", "00100020") and "/" not in path:
        return "pseudonyms"
    if tag.startswith("60"):
        return "overlays"
    if TABLE.get(tag, "").endswith("D") and value.startswith("SQ") and a == "kept" and b in ("gone", "empty"):
        return "sequences keep their items"
    if b in ("gone", "empty") and (a == "changed" or value in DUMMIES) and in_table(tag, "changed"):
        return "dummies"
    if b == "gone" and a == "empty" and TABLE.get(tag, "").startswith(("Z", "X/Z")):
        return "emptied or removed"
    if value == "SQ0" and a == "kept":
        return "emptied or removed"
    if b == "kept" and a != "kept" and in_table(tag, a):
        return "newer table"
    if tag == "00280303":
        return "what was done to dates"
    return None


def explain_pixelmed(tag, path, a, b, value):
    if tag.endswith("0000"):
        return "group lengths"
    if tag.startswith("60"):
        return "overlays"
    if int(tag[:4], 16) % 2 == 1:
        return "other lists of safe private attributes"
    cleaned = any("C" in OPTIONS.get(step.split("[")[0], ()) for step in path.split("/"))
    if cleaned and tag not in CODES:
        return "texts that are cleaned"
    if "K" in OPTIONS.get(tag, ()) and a == "kept" and b == "gone":
        return "kept by an option"
    if TABLE.get(tag, "").endswith("D") and value.startswith("SQ") and a == "kept" and b == "empty":
        return "sequences keep their items"
    if a == "kept" and b in ("gone", "changed"):
        return {"00080005": "character set", "00080117": "context UIDs", "00120064": "codes of its options",
                "00280004": "decompressed", "00280301": "burned-in annotation", "0032000A": "retired attributes",
                "0032000C": "retired attributes"}.get(tag)
    if tag == "00280303":
        return "what was done to dates"
    if in_table(tag, a) and b == "kept":
        return "kept by its options"
    if b == "gone" and a == "changed" and in_table(tag, a):
        return "dummies"
    if b == "gone" and a == "empty" and in_table(tag, a):
        return "emptied or removed"
    return None


class Comparison:
    def __init__(self, explain):
        self.explain = explain
        self.classes = collections.Counter()
        self.objects = 0
        self.unexplained = collections.defaultdict(list)

    def add(self, name, original, ours, other):
        if original is None or ours is None or other is None:
            return
        before = proof.flat(original)
        self.objects += 1
        for tag, path, a, b in differences(original, ours, other):
            why = self.explain(tag, path, a, b, before[path])
            if why:
                self.classes[why] += 1
            else:
                self.unexplained[f"{tag} {pydicom.datadict.keyword_for_tag(int(tag, 16))}: we {a}, they {b}"].append(
                    f"{name} {path}")

    def report(self):
        lines = [f"{self.objects} objects"] + [f"{count:6} {why}" for why, count in self.classes.most_common()]
        lines += [f"UNEXPLAINED {what}: {len(where)} times, such as {where[0]}"
                  for what, where in sorted(self.unexplained.items())]
        return "\n".join(lines)


@proof.needs_shared
class ProfilesTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        load_table()
        self.folder = proof.Folder(self).path
        (self.folder / "ours").mkdir()
        self.rows = proof.manifest()

    def ours(self, profile):
        targets = [self.folder / "ours" / f"{i:04}.dcm" for i in range(len(self.rows))]
        results = proof.deidentify([(proof.image(row), target) for row, target in zip(self.rows, targets)], profile)
        return [target if result[0] == "ok" else None for target, result in zip(targets, results)]

    @proof.needs_program("/usr/sbin/Orthanc", "orthanc")
    def test_agrees_with_orthanc_but_for_what_is_explained(self):
        ours = self.ours("basic")
        orthanc = proof.Orthanc(self.folder)
        self.addCleanup(orthanc.close)
        comparison = Comparison(explain_orthanc)

        for row, mine in zip(self.rows, ours):
            theirs = orthanc.anonymize(proof.image(row).read_bytes())
            if theirs is None or mine is None:
                continue
            other = self.folder / "theirs.dcm"
            other.write_bytes(theirs)
            comparison.add(row["path"], proof.read(proof.image(row)), proof.read(mine), proof.read(other))

        print(comparison.report())
        self.assertGreater(comparison.objects, 480)
        self.assertFalse(comparison.unexplained, comparison.report())

    @proof.needs_program(proof.PIXELMED, "libpixelmed-java")
    @proof.needs_program("java", "default-jre-headless")
    def test_agrees_with_pixelmed_but_for_what_is_explained(self):
        ours = self.ours(PIXELMED_OPTIONS)
        comparison = Comparison(explain_pixelmed)
        # Results are named by UIDs, so objects with the same UID go into different folders.
        rounds = collections.defaultdict(list)
        seen = collections.Counter()
        for i, row in enumerate(self.rows):
            source = self.without_codec(i, row)
            if source is not None:
                rounds[seen[row["dicom"]["instance"]]].append((i, source))
                seen[row["dicom"]["instance"]] += 1

        for number, members in rounds.items():
            given = self.folder / f"given{number}"
            given.mkdir()
            for i, source in members:
                shutil.copyfile(source, given / f"{i:04}.dcm")
            done = proof.pixelmed_deidentify(given, self.folder / f"pixelmed{number}")
            for i, _ in members:
                theirs = done.get(f"{i:04}.dcm")
                if theirs is not None and ours[i] is not None:
                    comparison.add(self.rows[i]["path"], proof.read(proof.image(self.rows[i])), proof.read(ours[i]),
                                   proof.read(theirs))

        print(comparison.report())
        self.assertGreater(comparison.objects, 400)
        self.assertFalse(comparison.unexplained, comparison.report())

    @proof.needs_program(proof.PIXELMED, "libpixelmed-java")
    @proof.needs_program("java", "default-jre-headless")
    def test_pixelmed_finds_no_new_reference_that_leads_nowhere(self):
        """Segmentations, reports and plans beside the images that they refer to; some of these are not there."""
        pairs = []
        for folder in ("before", "after"):
            (self.folder / folder).mkdir()
        for row in self.rows:
            if row["path"].startswith(("dicom-seg-sr-pm-dcmqi", "dicom-rt-dicompyler")):
                given = self.folder / "before" / f"{len(pairs)}.dcm"
                shutil.copyfile(proof.image(row), given)
                pairs.append((given, self.folder / "after" / given.name))
        proof.deidentify(pairs, "basic")

        lost = {folder: self.lost_references(self.folder / folder) for folder in ("before", "after")}

        self.assertGreater(len(lost["before"]), 3)
        for name, uids in lost["after"].items():
            self.assertLessEqual(len(uids), len(lost["before"].get(name, ())), name)

    def lost_references(self, folder):
        result = proof.pixelmed("apps.CheckAllUIDReferencesResolve", folder)
        lost = collections.defaultdict(set)
        for name, uid in re.findall(r"In file \S*?(\d+\.dcm) was a reference to SOP Instance UID (\S+) that is not",
                                    result.stdout + result.stderr):
            lost[name].add(uid)
        return lost

    def without_codec(self, i, row):
        """The object; compressed ones without their pixels, because Debian's PixelMed has no codecs."""
        if ".1.2.4." not in str(row["dicom"]["ts"]):
            return proof.image(row)
        original = proof.read(proof.image(row))
        if original is None or "PixelData" not in original:
            return None
        del original.PixelData
        original.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        target = self.folder / f"header{i:04}.dcm"
        try:
            original.save_as(target)
        except Exception:
            return None
        return target


if __name__ == "__main__":
    unittest.main()
