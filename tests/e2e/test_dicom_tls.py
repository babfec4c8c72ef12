"""DICOM over TLS: `storescu +tls` gets through, a wrong certificate does not, and a caller's certificate binds its AE title."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import Server, phantom
from test_receivers import free_port
from test_transport import Authority


class DicomTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.authority = Authority(cls.folder, "site-ca")
        cls.stranger = Authority(cls.folder, "other-ca")
        live = cls.authority.issue("server", "localhost")
        cls.second = cls.authority.issue("second", "localhost")
        cls.scanner = cls.authority.issue("scanner", "CT1")
        cls.forged = cls.stranger.issue("forged", "CT1")
        cls.live = live
        cls.server = Server(flags=["--dicom-tls-cert", live[0], "--dicom-tls-key", live[1], "--dicom-tls-client-ca",
                                   cls.authority.certificate])
        cls.server.start()
        cls.addClassCleanup(cls.server.__exit__)
        cls.server.narthex("project", "create", "P1")
        cls.port = free_port()
        cls.server.narthex("receiver", "create", "SECURE", "--port", cls.port, "--tls", "on")
        cls.server.narthex("receiver", "create", "BOUND", "--port", cls.port, "--tls", "on", "--tls-client-certificate", "on")
        cls.images = phantom(cls.folder / "images", session="TLS1", series=1, slices=3)

    def send(self, called, pair=None, calling="CT1", authority=None, flags=(), tool="storescu"):
        command = [tool, "-v", "-aec", called, "-aet", calling]
        if pair:
            command += ["+tls", pair[1], pair[0], "+cf", (authority or self.authority).certificate]
        elif flags:
            command += ["+tla", "+cf", (authority or self.authority).certificate]
        files = self.images if tool == "storescu" else []
        return subprocess.run([*map(str, command + ["127.0.0.1", self.port] + files)], capture_output=True, text=True,
                              timeout=60)

    def s_client(self, *arguments):
        return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile",
                               self.authority.certificate, "-verify_return_error", *map(str, arguments)],
                              capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=30)

    def test_images_come_over_tls(self):
        result = self.send("SECURE", self.scanner)
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = [row for row in self.server.prearchive() if row["label"] == "TLS1"]
        self.assertEqual([row["objectCount"] for row in rows], [len(self.images)])

    def test_wrong_certificates_and_plain_text_get_nowhere(self):
        self.assertNotEqual(self.send("SECURE", self.forged).returncode, 0, "signed by somebody else")
        self.assertNotEqual(self.send("SECURE", self.scanner, authority=self.stranger).returncode, 0,
                            "the scanner trusts others than the server")
        self.assertNotEqual(self.send("SECURE").returncode, 0, "plain text")
        self.assertIn("dicom tls handshake failed", self.server.log_text())

    def test_the_certificate_binds_the_ae_title(self):
        self.assertEqual(self.send("BOUND", self.scanner, tool="echoscu").returncode, 0)
        other = self.send("BOUND", self.scanner, calling="CT2", tool="echoscu")
        self.assertIn("Calling AE Title Not Recognized", other.stdout + other.stderr)
        none = self.send("BOUND", flags=["anonymous"], tool="echoscu")
        self.assertNotEqual(none.returncode, 0)
        log = [line for line in self.server.log_text().splitlines() if "association rejected" in line]
        self.assertTrue(any("another AE title" in line for line in log), log)

    def test_versions_and_a_new_certificate_without_restart(self):
        for old in ("-tls1", "-tls1_1"):
            self.assertNotEqual(self.s_client(old, "-cipher", "ALL:@SECLEVEL=0").returncode, 0, old)
        self.assertEqual(self.s_client("-tls1_2").returncode, 0)
        self.assertNotEqual(self.s_client("-tls1_2", "-cipher", "AES128-SHA").returncode, 0, "no forward secrecy")

        def serial():
            return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=self.s_client().stdout,
                                  capture_output=True, text=True).stdout
        before = serial()
        shutil.copy(self.second[1], self.live[1])
        self.assertEqual(serial(), before, "half of a replacement does not count")
        shutil.copy(self.second[0], self.live[0])
        self.assertNotIn(serial(), ("", before))

    def test_the_two_do_not_share_a_port(self):
        answer = self.server.narthex("receiver", "create", "PLAIN", "--port", self.port, code=1)
        self.assertEqual(answer["error"]["reason"], "INVALID_FIELD")
        plain = Server(flags=["--dicom-listen", "0.0.0.0:0"])
        try:
            with self.assertRaises(AssertionError):
                plain.start()
            self.assertIn("dicom-listen", plain.log_text())
        finally:
            shutil.rmtree(plain.data_dir, ignore_errors=True)


if __name__ == "__main__":
    unittest.main()
