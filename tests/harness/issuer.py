"""An external OpenID Connect issuer: an HTTP server with its metadata and keys, and the tokens that it signs."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gen.pulsetrack.auth.v1 import ExternalIssuer

AUDIENCE, ROLE_CLAIM, ADMIN_VALUE, USER_VALUE = "clinic", "realm.roles", "clinic-admin", "clinic-staff"
SUBJECT = "ana|7"


class Key:
    """A signing key: RS256, or ES256."""

    def __init__(self, kid: str, *, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any = (
            rsa.generate_private_key(65537, bits) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    def jwk(self) -> dict[str, Any]:
        """Returns the public key."""
        convert = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        public: dict[str, Any] = convert.to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.kid, "use": "sig", "alg": self.algorithm}


class Issuer:
    """An issuer. Tests replace its keys, and the responses by path."""

    def __init__(self, url: str = "https://login.example", *keys: Key) -> None:
        self.url = url
        self.keys = list(keys)
        self.responses: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        """Responses that replace the usual ones: the status, the body and the headers."""

    def jwks(self) -> bytes:
        """Returns the key set."""
        return json.dumps({"keys": [key.jwk() for key in self.keys], "generated": "yes"}).encode()

    def trust(self) -> ExternalIssuer:
        """Returns the issuer as a trust bundle describes it."""
        return ExternalIssuer(self.url, AUDIENCE, ROLE_CLAIM, [ADMIN_VALUE], [USER_VALUE], self.jwks())

    def token(self, *, key: Key | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Returns a token of a user that is valid for an hour. A claim given as None is omitted."""
        key, now = key or self.keys[0], int(time.time())
        defaults = {"iss": self.url, "aud": AUDIENCE, "sub": SUBJECT, "iat": now, "exp": now + 3600}
        defaults["realm"] = {"roles": ["other", USER_VALUE]}
        payload = {name: value for name, value in (defaults | claims).items() if value is not None}
        header = {"kid": key.kid} | (headers or {})
        return jwt.encode(payload, key.private, algorithm=key.algorithm, headers=header)

    def respond(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Returns the status, the body and the headers of a response."""
        metadata = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "scopes_supported": ["openid"]}
        usual = {"/.well-known/openid-configuration": json.dumps(metadata).encode(), "/keys": self.jwks()}
        return self.responses.get(path) or ((200, usual[path], {}) if path in usual else (404, b"", {}))


@contextmanager
def run_issuer(*keys: Key) -> Iterator[Issuer]:
    """Runs an issuer on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = issuer.respond(self.path)
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Writes no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}", *keys)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
