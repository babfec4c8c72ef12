"""Tokens of an OpenID issuer beside our own: who is let in with which rights, by every door, and each kind of bad token."""

import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

import grpc

from harness import BIN, Server, needs_shared, phantom, shared_folder
from issuer import Key, KeyServer, b64, claims
from rpc import Rpc

ISSUER = ["--oidc-issuer", "https://idp.example/realm", "--oidc-audience", "narthex"]


class Oidc(unittest.TestCase):
    """The keys in a file; no leeway, so that the end of a token can be waited for."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.rsa, cls.ec = Key(cls.folder, "r1"), Key(cls.folder, "e1", "EC")
        cls.jwks = cls.folder / "jwks.json"
        cls.publish(cls.rsa, cls.ec)
        cls.server = Server(flags=[*ISSUER, "--oidc-jwks", cls.jwks, "--oidc-leeway-seconds", "0", "--dicom-listen", "off"])
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        for project in ("P1", "P2"):
            cls.server.narthex("project", "create", project)
        for user in ("ann", "bob", "cleo"):
            cls.server.narthex("user", "create", user)
        cls.server.narthex("project", "member", "add", "P1", "ann", "member")
        cls.server.narthex("project", "member", "add", "P2", "bob", "collaborator")
        cls.rpc = Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    @classmethod
    def publish(cls, *keys):
        """As an administrator would: the new file takes the old one's place."""
        (cls.folder / "next").write_text(json.dumps({"keys": [key.jwk() for key in keys]}))
        os.replace(cls.folder / "next", cls.jwks)

    def refused(self, token, words, reason="UNAUTHENTICATED"):
        """By a unary call, a call that streams to the client, and one that streams to the server."""
        for name, request in (("ProjectService.ListProjects", {}),
                              ("PrearchiveService.WatchPrearchiveSessions", {"project": "P1"}),
                              ("UploadService.ImportArchive", [{"options": {"destination": {"project": "P1"}}}])):
            answer = self.rpc.call(name, request, token)
            self.assertEqual((answer.code, answer.reason), (grpc.StatusCode.UNAUTHENTICATED, reason), (name, words))
            self.assertRegex(answer.message, words)
            for part in token.split("."):
                self.assertFalse(len(part) > 8 and part in answer.message, "a token in an error text")
            self.assertEqual(answer.reply, [])

    def test_a_user_of_the_issuer_has_the_roles_that_he_has_here(self):
        for key in (self.rsa, self.ec):
            ann = key.token(claims("ann", roles=["admin"], groups=["P2"]))
            info = self.rpc.call("SettingsService.GetServerInfo", {}, ann).reply[0]
            self.assertEqual(info["user"], "ann")
            shown = self.rpc.call("ProjectService.ListProjects", {}, ann).reply[0]["projects"]
            self.assertEqual([project["id"] for project in shown], ["P1"])
        phantom(self.folder / "images", series=1, slices=2, project="P1", session="OIDC1")
        file = self.folder / "ann.token"
        file.write_text(ann + "\n")
        command = [BIN / "narthex", "--server", self.server.address, "--output", "json", "--token-file", file]
        upload = subprocess.run([*command, "upload", self.folder / "images", "--project", "P1", "--archive"], capture_output=True,
                                text=True)
        self.assertEqual(upload.returncode, 0, upload.stderr)
        denied = subprocess.run([*command, "upload", self.folder / "images", "--project", "P2"], capture_output=True, text=True)
        self.assertNotEqual(denied.returncode, 0)
        found = self.server.run("session", "search", token=ann)  # NARTHEX_TOKEN
        self.assertEqual([s["label"] for s in json.loads(found.stdout)["sessions"]], ["OIDC1"])
        bob = self.rsa.token(claims("bob"))
        self.assertEqual(json.loads(self.server.run("session", "search", token=bob).stdout).get("sessions", []), [])
        self.assertEqual(self.server.run("session", "delete", "P1/OIDC1", token=ann).returncode, 4, "a member, not an owner")
        self.assertEqual(self.server.run("user", "list", token=ann).returncode, 0)
        self.assertEqual(self.server.run("user", "create", "eve", token=ann).returncode, 4)

    def test_bad_tokens_are_refused_and_say_why(self):
        good = claims("ann")
        rsa, ec, stranger = self.rsa, self.ec, Key(self.folder, "r1")
        one = rsa.token(good).split(".")
        secret = f"{b64({'alg': 'HS256', 'kid': 'r1'})}.{b64(good)}"
        mac = b64(hmac.new(rsa.jwk()["n"].encode(), secret.encode(), hashlib.sha256).digest())
        table = {
            "another issuer": rsa.token({**good, "iss": "https://evil.example"}),
            "another audience": rsa.token({**good, "aud": "somebody-else"}),
            "time is over": rsa.token({**good, "exp": time.time() - 1}),
            "time has not come": rsa.token({**good, "nbf": time.time() + 100}),
            "no end": rsa.token({key: value for key, value in good.items() if key != "exp"}),
            "who it is for": rsa.token({**good, "sub": ""}),
            "signature does not fit": stranger.token(good),
            "signature does not fit|not a signed": ".".join([one[0], b64({**good, "sub": "bob"}), one[2]]),
            "key is not one": Key(self.folder, "r9").token(good),
            "algorithm|not a signed": f"{b64({'alg': 'none', 'kid': 'r1'})}.{b64(good)}.",
            "algorithm": f"{secret}.{mac}",
            "algorithm is not": ec.token(good, {"alg": "ES256", "kid": "r1"}),
            "not understood": rsa.token(good, {"alg": "RS256", "kid": "r1", "crit": ["b64"], "b64": False}),
            "not a signed": "a.b.c",
            "not valid": one[0],
        }
        for words, token in table.items():
            with self.subTest(words):
                self.refused(token, words)

    def test_a_token_that_its_library_does_not_stand_ends_no_server(self):
        for token in ("a=..", ".a=.", "..a="):
            self.refused(token, "not a signed")

    def test_users_that_are_not_here_or_are_disabled_are_refused(self):
        self.refused(self.rsa.token(claims("nobody")), "not known here")
        self.refused(self.rsa.token(claims("guest")), "not possible")
        self.refused(self.rsa.token(claims("Ann")), "not possible")
        cleo = self.rsa.token(claims("cleo"))
        self.assertEqual(self.rpc.call("ProjectService.ListProjects", {}, cleo).code, grpc.StatusCode.OK)
        self.server.narthex("user", "disable", "cleo")
        self.refused(cleo, "disabled")
        users = [user["id"] for user in self.server.narthex("user", "list")["users"]]
        self.assertNotIn("nobody", users)

    def test_keys_in_a_file_are_rotated_without_a_restart(self):
        old, new = Key(self.folder, "old", "EC"), Key(self.folder, "new", "EC")
        self.publish(self.rsa, self.ec, old)
        self.addCleanup(self.publish, self.rsa, self.ec)
        ask = lambda key: self.rpc.call("ProjectService.ListProjects", {}, key.token(claims("ann"))).code
        self.assertEqual(ask(old), grpc.StatusCode.OK)
        self.assertEqual(ask(new), grpc.StatusCode.UNAUTHENTICATED)
        self.publish(self.rsa, self.ec, new)
        self.assertEqual(ask(new), grpc.StatusCode.OK)
        self.assertEqual(ask(old), grpc.StatusCode.UNAUTHENTICATED)
        self.jwks.write_text("{ this is no")
        self.assertEqual(ask(new), grpc.StatusCode.OK, "a file that cannot be read ends nothing")

    def test_open_streams_end_with_their_token(self):
        token = self.rsa.token(claims("ann", seconds=2))
        answer = self.rpc.call("PrearchiveService.WatchPrearchiveSessions", {"project": "P1"}, token, timeout=30)
        self.assertEqual(answer.code, grpc.StatusCode.UNAUTHENTICATED)
        self.assertIn("time is over", answer.message)

    @needs_shared
    def test_a_gateway_takes_the_next_token_from_its_file(self):
        token = self.folder / "gateway.token"
        token.write_text(self.rsa.token(claims("bob")))  # who may not send to P1
        gateway = self.server.gateway("--ae-title", "NARTHEX", "--project", "P1", token_file=token)
        self.addCleanup(gateway.wait)
        self.addCleanup(gateway.terminate)
        port = gateway.port
        images = sorted((shared_folder() / "data/dicom-ct-ge-hispeed").rglob("*.dcm"))[:2]

        def send(image):
            return subprocess.run(["storescu", "-aec", "NARTHEX", "127.0.0.1", port, image], capture_output=True).returncode
        self.assertNotEqual(send(images[0]), 0)
        (self.folder / "gateway.next").write_text(self.rsa.token(claims("ann")))
        os.replace(self.folder / "gateway.next", token)
        self.server.wait_for(lambda: send(images[1]) == 0, "a C-STORE with the next token", 30)
        rows = self.server.prearchive("--project", "P1")
        self.assertEqual(sum(row["objectCount"] for row in rows), 1)

    def test_zz_no_token_is_in_the_log(self):
        log = self.server.log_text()
        self.assertNotIn("eyJ", log)
        self.assertIn("token issuer", log)


class OidcUrl(unittest.TestCase):
    """The keys at an address; users are made when they come."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="narthex-e2e-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.keys = KeyServer()
        cls.addClassCleanup(cls.keys.close)
        cls.first = Key(cls.folder, "k1", "EC")
        cls.keys.document = {"keys": [cls.first.jwk()]}
        cls.server = Server(flags=[*ISSUER, "--oidc-jwks", cls.keys.url, "--oidc-create-users", "--oidc-user-claim",
                                   "preferred_username", "--dicom-listen", "off"])
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__)
        cls.rpc = Rpc(cls.server.address)
        cls.addClassCleanup(cls.rpc.close)

    def ask(self, key, user="dora"):
        token = key.token(claims("3f1c-uuid", preferred_username=user, name="Dora Other"))
        return self.rpc.call("ProjectService.ListProjects", {}, token)

    def test_a_user_is_made_without_any_role(self):
        self.server.narthex("project", "create", "P1")
        answer = self.ask(self.first)
        self.assertEqual((answer.code, answer.reply), (grpc.StatusCode.OK, [{}]), answer.message)
        user = next(user for user in self.server.narthex("user", "list")["users"] if user["id"] == "dora")
        self.assertEqual(user["displayName"], "Dora Other")
        for role in ("siteAdmin", "allDataRead", "allDataAdmin", "disabled"):
            self.assertFalse(user.get(role))
        self.server.narthex("user", "disable", "dora")
        self.assertEqual(self.ask(self.first).code, grpc.StatusCode.UNAUTHENTICATED)
        self.server.narthex("user", "enable", "dora")
        lines = self.server.run("server", "export-audit", "--format", "fhir").stdout.splitlines()
        made = [json.loads(line) for line in lines if "USER_CREATE" in line and '"dora"' in line]
        self.assertEqual([event["agent"][0]["who"]["identifier"]["value"] for event in made], ["system"])

    def test_new_keys_are_fetched_within_seconds_and_the_issuer_is_not_flooded(self):
        second = Key(self.folder, "k2", "EC")
        self.keys.document = {"keys": [self.first.jwk(), second.jwk()]}
        asked = self.keys.asked
        begin = time.monotonic()
        while self.ask(second).code != grpc.StatusCode.OK:
            self.assertLess(time.monotonic() - begin, 60)
            time.sleep(0.5)
        self.assertLessEqual(self.keys.asked - asked, 1 + int((time.monotonic() - begin) / 10))
        self.keys.away = True
        self.addCleanup(setattr, self.keys, "away", False)
        self.assertEqual(self.ask(second, "emil").code, grpc.StatusCode.OK, "an issuer that is away ends nothing")
        asked = self.keys.asked
        for kid in range(20):
            forged = second.token(claims("x", preferred_username="dora"), {"alg": "ES256", "kid": f"made-up-{kid}"})
            self.assertEqual(self.rpc.call("ProjectService.ListProjects", {}, forged).code, grpc.StatusCode.UNAUTHENTICATED)
        self.assertLessEqual(self.keys.asked - asked, 2)

    def test_zz_failures_are_counted_by_address(self):
        wrong = self.first.token({**claims("x", preferred_username="dora"), "aud": "other"})
        reasons = [self.rpc.call("ProjectService.ListProjects", {}, wrong).reason for _ in range(130)]
        self.assertEqual(reasons[0], "UNAUTHENTICATED")
        self.assertIn("TOO_MANY_FAILURES", reasons)
        fresh = self.first.token(claims("x", preferred_username="emil"))
        self.assertEqual(self.rpc.call("ProjectService.ListProjects", {}, fresh).reason, "TOO_MANY_FAILURES")


class OidcFlags(unittest.TestCase):
    def test_what_does_not_fit_together_is_said(self):
        table = (
            (["--oidc-issuer", "https://idp"], "--oidc-audience: --oidc-issuer needs it"),
            (["--oidc-jwks", "/x"], "--oidc-issuer: --oidc-audience and --oidc-jwks need it"),
            ([*ISSUER, "--oidc-jwks", "http://idp.example/keys"], "--oidc-jwks: expected a file, an https:// address"),
            ([*ISSUER, "--oidc-jwks", "/x", "--oidc-leeway-seconds", "1d"], "--oidc-leeway-seconds: expected 0 to 600"),
            ([*ISSUER, "--oidc-jwks", "/x", "--oidc-user-claim", ""], "--oidc-user-claim: expected"),
            (["--oidc-create-users"], "--oidc-create-users: it needs --oidc-issuer"),
        )
        for flags, words in table:
            result = subprocess.run([BIN / "narthexd", "--data-dir", "/nonexistent", "--check-config", *flags], capture_output=True,
                                    text=True)
            self.assertEqual(result.returncode, 64, flags)
            self.assertIn(words, result.stderr)


if __name__ == "__main__":
    unittest.main()
