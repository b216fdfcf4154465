"""GetJwks."""

import json

import jwt

from gen.google.api import HttpBody
from gen.pulsetrack.auth.v1 import GetJwksRequest
from tests.auth.factory import create_session
from tests.harness.client import Client


def test_response_is_a_json_web_key_set(auth: Client) -> None:
    body: HttpBody = auth.get_jwks(GetJwksRequest())
    assert body.content_type == "application/json"
    [key] = json.loads(body.data)["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")


def test_key_set_contains_no_private_parameters(auth: Client) -> None:
    [key] = json.loads(auth.get_jwks(GetJwksRequest()).data)["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_keys_verify_issued_tokens(auth: Client) -> None:
    keys = jwt.PyJWKSet.from_json(auth.get_jwks(GetJwksRequest()).data.decode())
    token = create_session(auth).access_token
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="pulsetrack", issuer="pulsetrack-auth")
    assert claims["role"] == "USER"
