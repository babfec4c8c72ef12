"""getURL in anonymization scripts, through both doors: asked once for a study, refused where nobody allowed it, and what
fails leaves nothing."""

import http.server
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import unittest

import pydicom

from harness import Server, needs_shared, phantom, shared_folder
from test_anonymize import everything


class Pseudonyms(http.server.BaseHTTPRequestHandler):
    """Answers by path, and counts what it was asked."""

    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "away":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/pseudonym/1")
            self.end_headers()
            return
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/pseudonym/1")
            self.end_headers()
            return
        body = {"pseudonym": b" SUBJ-7\n", "large": b"x" * (65 << 10), "bytes": b"\xff\xfe\x00"}.get(kind)
        self.send_response(200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"no such patient")

    def log_message(self, *unused):
        pass


def serve(certificate=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pseudonyms)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@needs_shared
class GetUrl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-url-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.web = serve()
        cls.addClassCleanup(cls.web.server_close)
        cls.addClassCleanup(cls.web.shutdown)
        cls.port = cls.web.server_address[1]
        cls.host = f"127.0.0.1:{cls.port}"
        cls.server = Server()
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.images = sorted((shared_folder() / "data/dicom-mr-siemens-skyra").rglob("*.dcm"))[:4]

    def setUp(self):
        Pseudonyms.asked.clear()
        self.server.narthex("anon", "disable")
        self.server.narthex("settings", "set", "anonymize.url_hosts", self.host)

    def script(self, url, project=None):
        path = self.folder / "script.das"
        path.write_text(f'version "6.1"\n(0010,0010) := getURL[{url}]\n(0010,0020) := "X"\n')
        whose = ["--project", project] if project else []
        self.server.narthex("anon", "set", path, *whose)
        self.server.narthex("anon", "enable", *whose)

    def send(self, door, name, files=None):
        files = files or phantom(self.folder / name, series=1, slices=2, session=name, seed=sum(name.encode()),
                                 patient_name=f"Rumpel{name}")
        if door == "DICOM":
            self.server.storescu("--to", *files, code=None)
            return files, None
        result = self.server.run("upload", *files, "--project", "P1", "--subject", "S", "--session", name)
        return files, result

    def expect_nothing_of(self, files):
        headers = [pydicom.dcmread(file) for file in files]
        texts = {str(header.SOPInstanceUID) for header in headers} | {str(headers[0].PatientName)}
        for path, data in everything(self.server.data_dir).items():
            self.assertEqual([text for text in texts if text.encode() in data], [], path)

    def test_a_study_asks_once_through_both_doors(self):
        self.script(f'concatenate["http://{self.host}/pseudonym/", "7"]')

        _, sent = self.send("GRPC", "ONCE", self.images)
        self.assertEqual(sent.returncode, 0, sent.stdout)
        self.send("DICOM", "", self.images)

        self.assertEqual(Pseudonyms.asked, ["/pseudonym/7"])
        by_label = {s["label"]: s for s in self.server.prearchive()}
        self.assertEqual(by_label["ONCE"]["objectCount"], 4)
        # Over DICOM, labels come from what the script leaves.
        self.assertEqual((by_label["X"]["objectCount"], by_label["X"]["subject"]), (4, "SUBJ-7"))
        self.server.narthex("prearchive", "archive", by_label["ONCE"]["name"])
        files = self.folder / "download"
        self.server.narthex("session", "download", "P1/ONCE", "-o", files, "--verify")
        self.assertEqual({str(pydicom.dcmread(f).PatientName) for f in files.rglob("*.dcm")}, {"SUBJ-7"})

    def test_a_redirect_to_an_allowed_host_is_followed(self):
        self.script(f'"http://{self.host}/moved"')
        _, sent = self.send("GRPC", "MOVED")
        self.assertEqual(sent.returncode, 0, sent.stdout)
        self.assertEqual(Pseudonyms.asked, ["/moved", "/pseudonym/1"])

    def test_what_fails_is_rejected_with_the_reason_and_leaves_nothing(self):
        for kind, text in (("missing", "HTTP status 404"), ("large", "larger than"), ("bytes", "no text"),
                           ("away", "redirects to one that is not allowed")):
            with self.subTest(kind):
                Pseudonyms.asked.clear()
                self.script(f'concatenate["http://{self.host}/{kind}/", (0010,0010)]')
                for door in ("GRPC", "DICOM"):
                    files, sent = self.send(door, f"{kind}{door}")
                    if sent:
                        self.assertEqual(sent.returncode, 1, sent.stdout)
                        self.assertIn("ANONYMIZATION_FAILED", sent.stdout)
                        self.assertIn(text, sent.stdout)
                        self.assertNotIn(f"Rumpel{kind}", sent.stdout + sent.stderr)
                    self.expect_nothing_of(files)
                self.assertNotIn("/pseudonym/1", Pseudonyms.asked)

    def test_hosts_that_nobody_allowed_are_not_asked(self):
        path = self.folder / "other.das"
        for url in (f"http://127.0.0.1:{self.port + 1}/x", "http://127.0.0.1/x", f"http://localhost:{self.port}/x",
                    f"ftp://{self.host}/x", f"http://{self.host}@localhost/x"):
            path.write_text(f'version "6.1"\n(0010,0010) := getURL["{url}"]\n')
            checked = self.server.narthex("anon", "check", path, code=1)
            self.assertEqual([d["code"] for d in checked["diagnostics"]], ["URL_NOT_ALLOWED"], url)
        # One that the script puts together is seen only when it runs.
        self.script(f'concatenate["http://localhost:{self.port}/", "x"]')
        files, sent = self.send("GRPC", "OTHER")
        self.assertIn("has not allowed", sent.stdout)
        self.expect_nothing_of(files)
        self.assertEqual(Pseudonyms.asked, [])
        self.server.narthex("settings", "set", "anonymize.url_hosts", "http://a.example/", code=1)

    def test_a_certificate_that_nobody_signed_is_refused(self):
        pem = self.folder / "self-signed.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", self.folder / "certificate.pem"],
                       check=True, capture_output=True)
        pem.write_text(pem.read_text() + (self.folder / "certificate.pem").read_text())
        web = serve(pem)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        host = f"127.0.0.1:{web.server_address[1]}"
        self.server.narthex("settings", "set", "anonymize.url_hosts", host)
        self.script(f'"https://{host}/pseudonym/1"')
        files, sent = self.send("GRPC", "TLS")
        self.assertIn("certificate cannot be verified", sent.stdout)
        self.expect_nothing_of(files)
        self.assertEqual(Pseudonyms.asked, [])

    def test_at_archive_a_failure_leaves_the_session_staged(self):
        self.server.narthex("project", "create", "P2")
        self.script(f'"http://{self.host}/missing/2"', "P2")
        files = phantom(self.folder / "late", series=1, slices=2)
        self.server.narthex("upload", *files, "--project", "P2", "--subject", "S", "--session", "LATE")
        name, = [s["name"] for s in self.server.prearchive("--project", "P2")]
        self.server.narthex("prearchive", "archive", name, code=1)
        self.assertEqual(self.server.narthex("prearchive", "show", name)["objectCount"], 2)
        self.assertEqual(self.server.sessions('project = "P2"'), [])
        self.script(f'"http://{self.host}/pseudonym/2"', "P2")
        self.server.narthex("prearchive", "archive", name)
        self.assertEqual(self.server.narthex("session", "show", "P2/LATE")["fileCount"], 2)


if __name__ == "__main__":
    unittest.main()
