"""An issuer of tokens (OpenID Connect) for tests: keys and signatures by the openssl command, the key set as a file or over HTTP."""

import base64
import http.server
import json
import pathlib
import subprocess
import threading
import time


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, check=True, capture_output=True).stdout


def raw(der):
    """The two numbers of a DER signature, 32 bytes each."""
    out, at = b"", 2
    while at < len(der):
        number = der[at + 2:at + 2 + der[at + 1]].lstrip(b"\0")
        out, at = out + number.rjust(32, b"\0"), at + 2 + der[at + 1]
    return out


class Key:
    def __init__(self, folder, kid, kind="RSA", bits=2048):
        self.kid, self.kind, self.path = kid, kind, pathlib.Path(folder) / f"{kid}-{time.monotonic_ns()}.key"
        option = f"rsa_keygen_bits:{bits}" if kind == "RSA" else "ec_paramgen_curve:P-256"
        openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", self.path)

    def jwk(self):
        if self.kind == "RSA":
            modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().partition("=")[2]
            return {"kty": "RSA", "kid": self.kid, "use": "sig", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
        point = openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")[-64:]
        return {"kty": "EC", "crv": "P-256", "kid": self.kid, "x": b64(point[:32]), "y": b64(point[32:])}

    def sign(self, text):
        signature = openssl("dgst", "-sha256", "-sign", self.path, data=text.encode())
        return signature if self.kind == "RSA" else raw(signature)

    def token(self, claims, header=None):
        header = header or {"alg": "RS256" if self.kind == "RSA" else "ES256", "kid": self.kid, "typ": "JWT"}
        text = f"{b64(header)}.{b64(claims)}"
        return f"{text}.{b64(self.sign(text))}"


def claims(user, seconds=300, **more):
    now = time.time()
    return {"iss": "https://idp.example/realm", "aud": ["account", "narthex"], "sub": user, "iat": now, "exp": now + seconds,
            **more}


class KeyServer:
    """The key set at http://127.0.0.1:PORT/keys. `document` may change; `away` refuses."""

    def __init__(self):
        self.document, self.away, self.asked = {"keys": []}, False, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                body = json.dumps(outer.document).encode()
                self.send_response(503 if outer.away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *unused):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
