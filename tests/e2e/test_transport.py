"""TLS: who gets a connection, whose token goes with whose certificate, new certificates without a restart, and that plain
text is not offered to other machines."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import ssl
import struct
import tempfile
import unittest

from harness import BIN, Server, phantom
from test_receivers import free_port


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

    def test_programs_send_plain_text_to_this_machine_only(self):
        server = Server(flags=["--dicom-listen", "off"])
        self.addCleanup(server.__exit__)
        server.start()
        # The same server by an address that need not be this machine.
        elsewhere = ["--server", "0.0.0.0:" + server.address.rsplit(":", 1)[1]]
        refused = server.run(*elsewhere, "project", "list")
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("PLAINTEXT_REFUSED", refused.stderr)
        self.assertIn("--allow-plaintext", refused.stderr)
        self.assertEqual(server.run(*elsewhere, "--allow-plaintext", "project", "list").returncode, 0)

        command = [BIN / "narthex-gateway", *elsewhere, "--token-file", server.ready["token_file"], "--dicom-listen",
                   "127.0.0.1:0"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 78, refused.stderr)
        self.assertIn("--allow-plaintext", refused.stderr)
        # A name that begins like a loopback address.
        refused = subprocess.run([*command[:1], *command[3:-1], "127.example.invalid:0", "--server", server.address, "--ae-title",
                                  "X"], capture_output=True, text=True, timeout=60)
        self.assertEqual(refused.returncode, 78, refused.stderr)
        self.assertIn("plain text", refused.stderr)

        # Nor through a proxy of the environment.
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.settimeout(0.1)
            environment = dict(os.environ, http_proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}", NARTHEX_TOKEN=server.token)
            listed = subprocess.run([BIN / "narthex", "--server", server.address, "project", "list"], env=environment,
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual(listed.returncode, 0, listed.stderr)
            with self.assertRaises(TimeoutError):
                proxy.accept()

    def test_a_pair_that_does_not_fit_is_said_by_the_client(self):
        server = self.server(self.live(), "--tls-client-ca", self.authority.certificate)
        for pair, why in (((self.admin[0], self.somebody[1]), "is not the key of"), (self.expired, "ended at")):
            result = self.call(server, "project", "list", pair=pair)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn("TLS_FILES_INVALID", result.stderr)
            self.assertIn(why, result.stderr)

    def hang_up(self, port):
        """Asks for an association over TLS, and is gone before the answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority.certificate)
        context.load_cert_chain(*self.scanner)
        peer = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sendall(struct.pack(">BxI", 1, 68) + struct.pack(">H2x", 1) + b" " * 64)
        peer.close()

    def test_a_gateway_has_tls_on_both_sides_and_replaces_both_certificates(self):
        self.scanner = self.authority.issue("scanner", "CT1")
        # The client's certificate first is that of another user than the token.
        client = [pathlib.Path(shutil.copy(path, self.folder / f"client{path.suffix}")) for path in self.somebody]
        shown = self.live()
        server = Server(flags=["--tls-cert", self.first[0], "--tls-key", self.first[1], "--tls-client-ca",
                               self.authority.certificate, "--dicom-listen", "off"])
        server.grpc_listen = f"127.0.0.1:{free_port()}"
        self.addCleanup(server.__exit__)
        server.start()
        self.call(server, "project", "create", "P1", pair=self.admin)
        self.call(server, "user", "create", "relay", "--all-data-admin", "on", pair=self.admin)
        token = json.loads(self.call(server, "token", "create", "--user", "relay", pair=self.admin).stdout)["secret"]
        (self.folder / "token").write_text(token)
        ready, log = self.folder / "gateway.json", self.folder / "gateway.log"
        gateway = subprocess.Popen(
            [BIN / "narthex-gateway", "--server", server.address, "--token-file", self.folder / "token", "--tls-ca",
             self.authority.certificate, "--tls-cert", client[0], "--tls-key", client[1], "--dicom-listen", "127.0.0.1:0",
             "--ae-title", "SEC", "--dicom-tls", "--dicom-tls-client-certificate", "--dicom-tls-cert", shown[0],
             "--dicom-tls-key", shown[1], "--dicom-tls-client-ca", self.authority.certificate, "--ready-file", ready],
            stderr=open(log, "w"))
        self.addCleanup(gateway.wait)
        self.addCleanup(gateway.kill)
        server.wait_for(ready.exists, "the gateway")
        port = json.loads(ready.read_text())["dicom"].rsplit(":", 1)[1]
        files = phantom(self.folder / "relayed", session="RELAY1", series=1, slices=2)

        def store():
            return subprocess.run(["storescu", "-aec", "SEC", "-aet", "CT1", "+tls", self.scanner[1], self.scanner[0], "+cf",
                                   self.authority.certificate, "127.0.0.1", port, *files], capture_output=True,
                                  timeout=60).returncode

        def serial():
            answer = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}"], capture_output=True, text=True,
                                    errors="replace", stdin=subprocess.DEVNULL, timeout=30)
            return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=answer.stdout, capture_output=True,
                                  text=True).stdout.strip()
        self.assertNotEqual(store(), 0, "a token went with another user's certificate")
        self.assertEqual(serial(), self.serial_of(self.first[0]))

        for now, then in zip(self.authority.issue("relay", "relay"), client):
            shutil.copy(now, then)
        for now, then in zip(self.second, shown):
            shutil.copy(now, then)
        self.assertEqual(serial(), self.serial_of(self.second[0]))
        server.wait_for(lambda: "tls certificate replaced" in log.read_text(), "the look at the client's certificate")
        # The connection of before goes on with the certificate of before.
        server.stop()
        server.start()
        server.wait_for(lambda: store() == 0, "images through the new certificates")

        # Senders that hang up do not end it, and it leaves no core.
        for _ in range(20):
            self.hang_up(int(port))
        self.assertEqual(store(), 0)
        limits = pathlib.Path(f"/proc/{gateway.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size\s+0\s+0\s")
        self.assertNotIn(token, log.read_text())
        gateway.terminate()
        self.assertEqual(gateway.wait(timeout=30), 0)


if __name__ == "__main__":
    unittest.main()
