"""DICOM over TLS: `storescu +tls` gets through, a wrong certificate does not, and a caller's certificate binds its AE title."""

import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
import urllib.request

import dimse
from harness import BIN, Server, phantom
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
        cls.elsewhere = cls.authority.issue("elsewhere", "CT9", names="DNS:elsewhere")
        cls.expired = cls.authority.issue("expired", "localhost", days=0)
        cls.live = live
        cls.authorities = pathlib.Path(shutil.copy(cls.authority.certificate, cls.folder / "clients.pem"))
        cls.server = Server(flags=["--dicom-tls-cert", live[0], "--dicom-tls-key", live[1], "--dicom-tls-client-ca",
                                   cls.authorities, "--metrics-listen", "127.0.0.1:0"])
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

    def context(self, pair, protocol=ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.load_cert_chain(*pair)
        context.load_verify_locations(self.authority.certificate)
        return context

    def resumed(self, version, session, *arguments):
        answer = self.s_client(version, "-sess_in", session, *arguments)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return "Reused, TLS" in answer.stdout

    def test_sessions_are_resumed_until_the_authorities_change(self):
        sessions = {}
        shown = ["-cert", self.scanner[0], "-key", self.scanner[1]]
        for version in ("-tls1_2", "-tls1_3"):
            for name, pair in (("shown", shown), ("none", [])):
                session = sessions[version, name] = self.folder / f"{name}{version}.session"
                # Open for a moment: tickets of TLS 1.3 come after the handshake.
                subprocess.run(["sh", "-c", 'sleep 1 | openssl s_client "$@"', "sh", "-connect", f"127.0.0.1:{self.port}",
                                "-CAfile", self.authority.certificate, version, *pair, "-sess_out", session],
                               capture_output=True, timeout=30)
                self.assertTrue(self.resumed(version, session, *pair), session.name)

        # Who resumes is still who the certificate says.
        context = self.context(self.scanner)
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        def bound(calling, session=None):
            peer = dimse.requested("127.0.0.1", self.port, "BOUND", calling,
                                   wrap=lambda plain: context.wrap_socket(plain, session=session))
            self.addCleanup(peer.close)
            return peer.connection
        session = bound("CT1").session
        self.assertTrue(bound("CT1", session).session_reused)
        with self.assertRaises(ConnectionError):
            bound("CT2", session)

        # The authority of before is no authority now, and what was agreed on with it is worth nothing.
        shutil.copy(self.stranger.certificate, self.authorities)
        self.addCleanup(shutil.copy, self.authority.certificate, self.authorities)
        with self.assertRaises(OSError):
            bound("CT1", session)
        for version in ("-tls1_2", "-tls1_3"):
            self.assertFalse(self.resumed(version, sessions[version, "none"]), version)

    def ask(self, transaction):
        peer = dimse.requested("127.0.0.1", self.port, "SECURE", "CT1", wrap=self.context(self.scanner).wrap_socket)
        self.assertEqual(dimse.ask(peer, transaction, [("1.2.840.10008.5.1.4.1.1.4", "1.2.3.99")]), 0)
        peer.close()  # without having read the report

    def test_reports_of_commitment_go_over_tls_too(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.server.narthex("receiver", "update", "SECURE", "--commitment", f"CT1=127.0.0.1:{listener.getsockname()[1]}")

            def wrap(pair):
                context = self.context(pair, ssl.PROTOCOL_TLS_SERVER)
                context.verify_mode = ssl.CERT_REQUIRED  # the server shows its own
                return lambda plain: context.wrap_socket(plain, server_side=True)
            self.ask("1.2.3.7")
            back, called, calling = dimse.accepted(listener, wrap(self.scanner))
            self.assertEqual((called, calling), ("CT1", "SECURE"))
            self.assertEqual(dimse.take_report(back), (2, "1.2.3.7", [], {"1.2.3.99": 0x0112}))
            back.close()

            for transaction, pair, why in (("1.2.3.8", self.forged, "certificate verify failed"),
                                           ("1.2.3.9", self.elsewhere, "neither for its AE title nor for its host")):
                self.ask(transaction)
                with self.assertRaises(OSError):
                    dimse.accepted(listener, wrap(pair))
                self.server.wait_for(lambda: any(transaction in line and why in line for line in
                                                 self.server.log_text().splitlines()), why)

    def test_a_certificate_that_is_over_is_refused_and_the_end_is_a_metric(self):
        data = tempfile.mkdtemp(dir=self.folder)
        for pair, why in ((self.expired, "ended at"), ((self.second[0], self.expired[1]), "is not the key of")):
            result = subprocess.run([BIN / "narthexd", "--data-dir", data, "--grpc-listen", "127.0.0.1:0", "--dicom-listen",
                                     "127.0.0.1:0", "--dicom-tls-cert", pair[0], "--dicom-tls-key", pair[1]],
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 78, result.stderr)
            self.assertIn("--dicom-tls-", result.stderr)
            self.assertIn(why, result.stderr)

        shown = subprocess.run(["openssl", "x509", "-noout", "-enddate"], input=self.s_client().stdout, capture_output=True,
                               text=True).stdout
        end = ssl.cert_time_to_seconds(shown.strip().removeprefix("notAfter="))
        text = urllib.request.urlopen(f"http://{self.server.ready['metrics']}/metrics", timeout=30).read().decode()
        line = next(line for line in text.splitlines()
                    if line.startswith('narthex_tls_certificate_end_seconds{door="dicom"}'))
        self.assertEqual(float(line.split()[-1]), end)

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
