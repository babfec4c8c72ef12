"""TLS: who gets a connection, whose token goes with whose certificate, new certificates without a restart, and that plain
text is not offered to other machines."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

from harness import BIN, Server, phantom, sha256


class Authority:
    """A certificate authority in a folder, made with the openssl command."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.certificate = self.folder / f"{name}.pem"
        self.key = self.folder / f"{name}.key"
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate,
                     "-days", "2", "-subj", f"/CN={name}")

    @staticmethod
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def issue(self, name, common_name, days=1, names="DNS:localhost,IP:127.0.0.1"):
        """(certificate, key) as paths. `days` 0: it ends when it begins."""
        request, certificate, key = (self.folder / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        self.openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj",
                     f"/CN={common_name}")
        self.openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                     "-days", days, "-extfile", extensions, "-out", certificate)
        return certificate, key


class Transport(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.authority = Authority(cls.folder, "site-ca")
        cls.stranger = Authority(cls.folder, "other-ca")
        cls.expired = cls.authority.issue("expired", "admin", days=0)
        cls.first = cls.authority.issue("first", "localhost")
        cls.second = cls.authority.issue("second", "localhost")
        cls.admin = cls.authority.issue("admin", "admin")
        cls.somebody = cls.authority.issue("somebody", "somebody")
        cls.forged = cls.stranger.issue("forged", "admin")

    def live(self):
        """Copies of the server's certificate that a test may replace."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        return (pathlib.Path(shutil.copy(self.first[0], folder / "server.pem")),
                pathlib.Path(shutil.copy(self.first[1], folder / "server.key")))

    def server(self, pair, *flags):
        server = Server(flags=["--tls-cert", str(pair[0]), "--tls-key", str(pair[1]), *map(str, flags)])
        self.addCleanup(server.__exit__)
        server.start()
        return server

    def call(self, server, *arguments, authority=None, pair=None):
        flags = ["--tls-ca", (authority or self.authority).certificate]
        if pair:
            flags += ["--tls-cert", pair[0], "--tls-key", pair[1]]
        return server.run(*flags, *arguments, timeout=60)

    def s_client(self, server, *arguments):
        return subprocess.run(["openssl", "s_client", "-connect", server.address, "-alpn", "h2", "-CAfile",
                               self.authority.certificate, "-verify_return_error", *map(str, arguments)],
                              capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=30)

    def serial(self, server):
        shown = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=self.s_client(server).stdout,
                               capture_output=True, text=True).stdout
        return shown.strip()

    def serial_of(self, certificate):
        return subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", certificate], capture_output=True,
                              text=True).stdout.strip()

    def test_clients_trust_the_server_or_go_away_and_the_certificate_is_replaced_while_it_runs(self):
        pair = self.live()
        server = self.server(pair)

        self.assertEqual(self.call(server, "server", "info").returncode, 0)
        self.assertNotEqual(self.call(server, "server", "info", authority=self.stranger).returncode, 0)
        self.assertNotEqual(server.run("server", "info", timeout=60).returncode, 0, "plain text reached a TLS port")
        answer = self.s_client(server)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn("Verify return code: 0 (ok)", answer.stdout)
        self.assertIn("ALPN protocol: h2", answer.stdout)
        for old in ("-tls1", "-tls1_1"):
            self.assertNotEqual(self.s_client(server, old, "-cipher", "ALL:@SECLEVEL=0").returncode, 0, old)
        self.assertEqual(self.s_client(server, "-tls1_2").returncode, 0)
        self.assertEqual(self.serial(server), self.serial_of(self.first[0]))

        # Half of a replacement is no reason to stop: the last pair that fits goes on.
        shutil.copy(self.second[1], pair[1])
        server.wait_for(lambda: "do not fit" in server.log_text(), "the look at the files", timeout=20)
        self.assertEqual(self.serial(server), self.serial_of(self.first[0]))
        shutil.copy(self.second[0], pair[0])
        server.wait_for(lambda: self.serial(server) == self.serial_of(self.second[0]), "the new certificate", timeout=20)
        self.assertEqual(self.call(server, "server", "info").returncode, 0)

    def test_a_client_needs_a_certificate_of_the_authority_and_a_token_of_the_same_user(self):
        server = self.server(self.live(), "--tls-client-ca", self.authority.certificate)
        good = self.call(server, "project", "create", "P1", pair=self.admin)
        self.assertEqual(good.returncode, 0, good.stderr)

        self.assertNotEqual(self.call(server, "server", "info").returncode, 0, "no certificate was needed")
        for pair in (self.forged, self.expired):
            self.assertNotEqual(self.call(server, "project", "list", pair=pair).returncode, 0, pair[0].name)
        other = self.call(server, "project", "list", pair=self.somebody)
        self.assertNotEqual(other.returncode, 0)
        self.assertIn("CERTIFICATE_USER", other.stdout + other.stderr)
        self.assertNotIn(server.token, server.log_text())

        # The gateway in the same process has no certificate and needs none; images arrive by both doors.
        files = phantom(self.folder / "mutual", session="MTLS1", series=1)
        server.storescu("--to", "+sd", "+r", self.folder / "mutual")
        sent = self.call(server, "upload", self.folder / "mutual", "--project", "P1", "--archive", pair=self.admin)
        self.assertEqual(sent.returncode, 0, sent.stderr)
        listed = self.call(server, "session", "files", "P1/MTLS1", pair=self.admin)
        self.assertEqual(listed.stdout.count('"path"'), len(files), listed.stdout)

    def test_any_certificate_of_the_authority_is_enough_where_that_is_said(self):
        server = self.server(self.live(), "--tls-client-ca", self.authority.certificate, "--tls-client-user", "any")

        self.assertEqual(self.call(server, "project", "list", pair=self.somebody).returncode, 0)
        self.assertNotEqual(self.call(server, "project", "list", pair=self.forged).returncode, 0)
        self.assertNotEqual(self.call(server, "project", "list").returncode, 0)

    def refused(self, *flags):
        data = tempfile.mkdtemp(dir=self.folder)
        result = subprocess.run([BIN / "narthexd", "--data-dir", data, "--dicom-listen", "off", *map(str, flags)],
                                capture_output=True, text=True, timeout=30)
        self.assertEqual(result.returncode, 78, result.stderr)
        self.assertEqual(os.listdir(data), [], "something was opened before the refusal")
        return result.stderr

    def test_what_cannot_be_served_safely_is_refused_at_the_start(self):
        everywhere = ("--grpc-listen", "0.0.0.0:0")
        self.assertIn("--allow-plaintext", self.refused(*everywhere))
        self.assertIn("--allow-plaintext", self.refused("--grpc-listen", f"{socket.gethostname()}:0"))
        self.assertIn("--metrics-listen", self.refused("--grpc-listen", "127.0.0.1:0", "--metrics-listen", "0.0.0.0:0"))
        with_key = ("--tls-key", self.first[1])
        self.assertIn("ended at", self.refused(*everywhere, "--tls-cert", self.expired[0], "--tls-key", self.expired[1]))
        self.assertIn("is not the key of", self.refused(*everywhere, "--tls-cert", self.second[0], *with_key))
        self.assertIn("cannot be read", self.refused(*everywhere, "--tls-cert", self.folder / "missing", *with_key))
        self.assertIn("is not a PEM file", self.refused(*everywhere, "--tls-cert", self.first[1], *with_key))

    def test_plain_text_is_served_where_it_is_allowed(self):
        server = Server(flags=["--allow-plaintext", "--metrics-listen", "0.0.0.0:0"])
        self.addCleanup(server.__exit__)
        server.start()

        self.assertEqual(server.run("server", "info").returncode, 0)


if __name__ == "__main__":
    unittest.main()
