"""What the proofs of de-identification share: the real images, our own program, and other people's."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
import warnings

import pydicom

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("NARTHEX_BIN", ROOT / "build/dev/bin"))
SHARED = pathlib.Path(os.environ.get("NARTHEX_SHARED", ROOT.parent / "shared"))
STANDARD_UIDS = "1.2.840.10008."

warnings.simplefilter("ignore")  # pydicom's remarks on odd values: these files are odd on purpose


def needs_shared(test):
    if (SHARED / "data/MANIFEST.jsonl").exists():
        return test
    if os.environ.get("CI") == "true":
        raise AssertionError(f"the real images are missing: {SHARED}")
    return unittest.skip("REAL IMAGES ARE MISSING, NOTHING WAS TESTED: set NARTHEX_SHARED")(test)


def needs_program(name, package):
    def decorate(test):
        if shutil.which(name) or pathlib.Path(name).exists():
            return test
        if os.environ.get("CI") == "true":
            raise AssertionError(f"{name} (Debian package {package}) is missing")
        return unittest.skip(f"NOT TESTED: {name} (Debian package {package}) is not installed")(test)
    return decorate


def manifest():
    """Rows of the DICOM objects; the readable ones, in the order of the manifest."""
    lines = (SHARED / "data/MANIFEST.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row.get("dicom")]


def image(row):
    return SHARED / "data" / row["path"]


class Folder:
    """A temporary folder that is removed with the test."""

    def __init__(self, test):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="narthex-deid-"))
        test.addCleanup(shutil.rmtree, self.path, True)


def deidentify(pairs, profile="", script="", subject=""):
    """Runs our libraries over (input, output) pairs; (reason or "ok", detail) for each."""
    command = [BIN / "narthex-deid-proof"]
    if profile:
        command += ["--profile", profile]
    if subject:
        command += ["--subject", subject]
    with tempfile.NamedTemporaryFile("w", suffix=".das") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["--script", file.name]
        listed = "".join(f"{a}\t{b}\n" for a, b in pairs)
        result = subprocess.run(command, input=listed, capture_output=True, text=True, timeout=500)
    if result.returncode != 0:
        raise AssertionError(f"narthex-deid-proof: {result.returncode}: {result.stderr[-2000:]}")
    return [tuple(line.split("\t", 1)) for line in result.stdout.splitlines()]


def read(path):
    """A data set as pydicom reads it, or None."""
    try:
        return pydicom.dcmread(path, force=True)
    except Exception:
        return None


def flat(dataset, prefix=""):
    """path -> text of the value ("" if empty, "SQ2" for a sequence of two items), without pixel data."""
    out = {}
    for element in dataset:
        if element.tag == 0x7FE00010:
            continue
        path = f"{prefix}{element.tag:08X}"
        if element.VR == "SQ":
            out[path] = f"SQ{len(element.value)}"
            for i, item in enumerate(element.value):
                out.update(flat(item, f"{path}[{i}]/"))
        else:
            empty = element.value is None or (hasattr(element.value, "__len__") and len(element.value) == 0)
            out[path] = "" if empty else repr(element.value)
    return out


class Orthanc:
    """A real Orthanc with its HTTP interface on some port of this machine."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        store = str(folder / "orthanc")
        settings = {"Name": "proof", "StorageDirectory": store, "IndexDirectory": store, "HttpPort": self.port,
                    "DicomServerEnabled": False, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
                    "Plugins": [], "OverwriteInstances": True}
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.process = subprocess.Popen([shutil.which("Orthanc", path=os.environ["PATH"] + ":/usr/sbin"),
                                         str(folder / "orthanc.json")],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                self.version = json.loads(self.request("/system"))["Version"]
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end or self.process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.05)

    def request(self, path, data=None, method=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()

    def anonymize(self, content):
        """The object as Orthanc anonymizes it (its newest edition of the profile), or None if it takes it not."""
        try:
            stored = json.loads(self.request("/instances", content))
            stored = stored[0] if isinstance(stored, list) else stored
            order = json.dumps({"DicomVersion": "2021b", "Force": True}).encode()
            out = self.request(f"/instances/{stored['ID']}/anonymize", order)
            self.request(f"/instances/{stored['ID']}", method="DELETE")
            return out
        except (urllib.error.HTTPError, KeyError, IndexError):
            return None

    def close(self):
        self.process.terminate()
        self.process.wait()


PIXELMED = "/usr/share/java/pixelmed.jar"
CLASS_PATH = ":".join(f"/usr/share/java/{jar}.jar" for jar in ("pixelmed", "commons-codec", "javax.json", "vecmath"))


def pixelmed(program, *arguments):
    return subprocess.run(["java", "-Xmx1g", "-cp", CLASS_PATH, f"com.pixelmed.{program}", *map(str, arguments)],
                          capture_output=True, text=True, timeout=600)


def pixelmed_deidentify(folder_in, folder_out):
    """path below folder_in -> result, as PixelMed de-identifies (it keeps dates, descriptions, device, institution)."""
    folder_out.mkdir()
    result = pixelmed("apps.DeidentifyAndRedact", folder_in, folder_out, "", "BLOCK", "KEEPSAFEPRIVATE",
                      "DONOTADDCONTRIBUTINGEQUIPMENT")
    done = {}
    for source, target in re.findall(r"Deidentified and Redacted (\S+) into (\S+)", result.stdout + result.stderr):
        done[pathlib.Path(source).name] = pathlib.Path(target)
    return done
