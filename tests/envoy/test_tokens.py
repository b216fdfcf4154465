"""Access tokens that the gateway accepts and rejects, and headers that it does not trust."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from envoy.target import ExternalIssuer
from services.common.rpc.token_rules import MAX_TOKEN_SECONDS
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, has_status, method_named, run_gateway
from tests.envoy.stub import Keys
from tests.harness.waiting import eventually

NOW = int(time.time())
BAD_CLAIMS = [
    pytest.param({"exp": NOW - 60}, id="expired"),
    pytest.param({"exp": None}, id="never expires"),
    pytest.param({"exp": NOW + 10 * 365 * 86_400}, id="expires in ten years"),
    pytest.param({"nbf": NOW + 86_400}, id="not yet valid"),
    pytest.param({"iss": "other"}, id="another issuer"),
    pytest.param({"aud": "pulsetrack-services"}, id="another audience"),
]


@pytest.mark.parametrize("claims", BAD_CLAIMS)
def test_token_with_invalid_claims_is_rejected(gateway: Gateway, claims: dict[str, object]) -> None:
    assert_rejected(gateway, gateway.keys.token(**claims))


def test_forged_token_is_rejected(gateway: Gateway) -> None:
    assert_rejected(gateway, Keys().token())


def test_malformed_token_is_rejected(gateway: Gateway) -> None:
    assert_rejected(gateway, "garbage")


def assert_rejected(gateway: Gateway, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    response = gateway.http.get("/v1/patients/x", headers=headers)
    assert (response.status_code, response.json()["code"], error_reason(response)) == (401, 16, "TOKEN_INVALID")
    with pytest.raises(grpc.RpcError) as rejected:
        gateway.call(method_named("GetPatient").path, headers)
    assert rejected.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert grpc_error_reason(rejected.value) == "TOKEN_INVALID"
    assert not gateway.received_calls()


def test_token_within_clock_skew_is_accepted(gateway: Gateway) -> None:
    token = gateway.keys.token(exp=int(time.time()) - 10)
    assert gateway.http.get("/v1/patients/x", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_token_of_maximum_lifetime_is_accepted_with_clock_skew(gateway: Gateway) -> None:
    token = gateway.keys.token(exp=int(time.time()) + MAX_TOKEN_SECONDS + 10)
    assert gateway.http.get("/v1/patients/x", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_removed_key_stops_verifying_new_tokens_within_seconds(tmp_path: Path) -> None:
    with run_gateway(tmp_path, rate_limits=False) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        assert accepts(gateway, gateway.keys)
        new = Keys("k2")
        gateway.keys.jwks = new.jwks
        eventually(lambda: not accepts(gateway, gateway.keys))
        assert accepts(gateway, new)


def accepts(gateway: Gateway, keys: Keys) -> bool:
    """Returns whether the gateway accepts a new token signed with these keys."""
    token = keys.token(jti=str(uuid4()))
    return has_status(gateway.http, "/v1/patients/x", 200, authorization=f"Bearer {token}")


def test_invalid_token_is_ignored_on_public_methods(gateway: Gateway) -> None:
    headers = {"authorization": "Bearer garbage"}
    assert gateway.http.post("/v1/auth/login", json={}, headers=headers).status_code == 200
    gateway.call(method_named("Login").path, headers)
    assert len(gateway.received_calls()) == 2


@pytest.mark.parametrize("scheme", ["Basic", "Token"])
def test_other_authorization_scheme_is_rejected(gateway: Gateway, scheme: str) -> None:
    response = gateway.http.get("/v1/patients/x", headers={"authorization": f"{scheme} {gateway.keys.token()}"})
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("where", ["query", "cookie"])
def test_token_outside_the_header_is_ignored(gateway: Gateway, where: str) -> None:
    token = gateway.keys.token()
    query = f"?access_token={token}" if where == "query" else ""
    headers = {"cookie": f"access_token={token}"} if where == "cookie" else {}
    response = gateway.http.get(f"/v1/patients/x{query}", headers=headers)
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("path", ["//v1/patients", "/v1/auth/../patients", "/v1/./patients", "/v1/auth/login/../me"])
def test_unnormalized_path_requires_token_of_its_target(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(str(gateway.http.base_url) + path)
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_MISSING")


def test_token_reaches_the_service_and_forged_headers_do_not(gateway: Gateway) -> None:
    forged = {
        "x-envoy-original-path": "/forged",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "https",
        "x-jwt-payload": "forged",
        "x-request-id": "forged",
        "x-user-id": "forged",
        "x-user-role": "ADMIN",
    }
    bearer = gateway.bearer
    gateway.http.get("/v1/patients/x", headers=bearer | forged)
    gateway.call(method_named("GetPatient").path, bearer | forged)
    assert len(gateway.received_calls()) == 2
    for call in gateway.received_calls():
        assert call.metadata["authorization"] == bearer["authorization"]
        assert not set(call.metadata.values()) & set(forged.values())
        assert call.metadata["x-remote-address"] == "127.0.0.1"


ISSUER = ExternalIssuer("https://login.example", "clinic")


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that accepts the tokens of an external issuer too."""
    folder = tmp_path_factory.mktemp("federated")
    with run_gateway(folder, rate_limits=False, external_issuer=ISSUER) as gateway:
        eventually(lambda: has_status(gateway.http, "/readyz", 200))
        eventually(lambda: accepts_external(gateway))
        yield gateway


def external_token(gateway: Gateway, **claims: object) -> str:
    """Returns a token of the external issuer. The given claims replace the defaults."""
    defaults = {"iss": ISSUER.url, "aud": ISSUER.audience, "jti": str(uuid4())}
    return gateway.stubs["auth"].external_keys.token(**(defaults | claims))


def accepts_external(gateway: Gateway) -> bool:
    headers = {"authorization": f"Bearer {external_token(gateway)}"}
    return has_status(gateway.http, "/v1/patients/x", 200, **headers)


def test_token_of_the_external_issuer_is_accepted(federated: Gateway) -> None:
    assert accepts_external(federated)
    assert accepts(federated, federated.keys)
    assert error_reason(federated.http.get("/v1/patients/x")) == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": "other"}, id="another audience"),
        pytest.param({"aud": "pulsetrack"}, id="the audience of auth"),
        pytest.param({"iss": "pulsetrack-auth"}, id="the issuer auth"),
        pytest.param({"iss": "pulsetrack-auth", "aud": "pulsetrack"}, id="the issuer and audience of auth"),
        pytest.param({"iss": "https://login.example/"}, id="another issuer"),
        pytest.param({"exp": None}, id="never expires"),
        pytest.param({"exp": NOW - 60}, id="expired"),
        pytest.param({"exp": NOW + 2 * 86_400}, id="expires in two days"),
    ],
)
def test_invalid_token_of_the_external_issuer_is_rejected(federated: Gateway, claims: dict[str, object]) -> None:
    before = len(federated.received_calls())
    headers = {"authorization": f"Bearer {external_token(federated, **claims)}"}
    response = federated.http.get("/v1/patients/x", headers=headers)
    assert (response.status_code, error_reason(response)) == (401, "TOKEN_INVALID")
    assert len(federated.received_calls()) == before


def test_key_of_auth_cannot_sign_for_the_external_issuer(federated: Gateway) -> None:
    token = federated.keys.token(iss=ISSUER.url, aud=ISSUER.audience)
    assert has_status(federated.http, "/v1/patients/x", 401, authorization=f"Bearer {token}")


def test_external_issuer_is_unknown_by_default(gateway: Gateway) -> None:
    assert_rejected(gateway, external_token(gateway))
