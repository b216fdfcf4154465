"""Whose tokens the gateway believes, and what it does not believe at all."""

import time
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from services.common.rpc.tokens import MAX_TOKEN_SECONDS
from tests.envoy.gateway import Gateway, answers, native, native_reason, reason, running
from tests.envoy.stub import Keys
from tests.harness.waiting import eventually

NOW = int(time.time())
BAD_CLAIMS = [
    pytest.param({"exp": NOW - 60}, id="expired"),
    pytest.param({"exp": None}, id="never expires"),
    pytest.param({"exp": NOW + 10 * 365 * 86_400}, id="expires in ten years"),
    pytest.param({"nbf": NOW + 86_400}, id="not yet valid"),
    pytest.param({"iss": "somebody"}, id="another issuer"),
    pytest.param({"aud": "pulsetrack-services"}, id="another audience"),
]


@pytest.mark.parametrize("claims", BAD_CLAIMS)
def test_a_token_that_says_something_else_is_refused(gateway: Gateway, claims: dict[str, object]) -> None:
    assert_refused(gateway, gateway.keys.token(**claims))


def test_a_forged_token_is_refused(gateway: Gateway) -> None:
    assert_refused(gateway, Keys().token())


def test_what_is_no_token_is_refused(gateway: Gateway) -> None:
    assert_refused(gateway, "garbage")


def assert_refused(gateway: Gateway, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    answer = gateway.http.get("/v1/patients/x", headers=headers)
    assert (answer.status_code, answer.json()["code"], reason(answer)) == (401, 16, "TOKEN_INVALID")
    with pytest.raises(grpc.RpcError) as refused:
        gateway.call(native("GetPatient").path, headers)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert native_reason(refused.value) == "TOKEN_INVALID"
    assert not gateway.arrived()


def test_a_token_within_the_clocks_tolerance_is_accepted(gateway: Gateway) -> None:
    token = gateway.keys.token(exp=int(time.time()) - 10)
    assert gateway.http.get("/v1/patients/x", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_of_the_longest_lifetime_is_accepted_from_a_fast_clock(gateway: Gateway) -> None:
    token = gateway.keys.token(exp=int(time.time()) + MAX_TOKEN_SECONDS + 10)
    assert gateway.http.get("/v1/patients/x", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_key_that_left_the_key_set_verifies_no_new_token_after_some_seconds(tmp_path: Path) -> None:
    with running(tmp_path, rate_limits=False) as gateway:
        eventually(lambda: answers(gateway.http, "/readyz", 200))
        assert accepts(gateway, gateway.keys)
        new = Keys("k2")
        gateway.keys.jwks = new.jwks
        eventually(lambda: not accepts(gateway, gateway.keys))
        assert accepts(gateway, new)


def accepts(gateway: Gateway, keys: Keys) -> bool:
    """Returns whether the gateway accepts a token that these keys sign now."""
    token = keys.token(jti=str(uuid4()))
    return answers(gateway.http, "/v1/patients/x", 200, authorization=f"Bearer {token}")


def test_a_bad_token_does_not_matter_where_none_is_needed(gateway: Gateway) -> None:
    headers = {"authorization": "Bearer garbage"}
    assert gateway.http.post("/v1/auth/login", json={}, headers=headers).status_code == 200
    gateway.call(native("Login").path, headers)
    assert len(gateway.arrived()) == 2


@pytest.mark.parametrize("scheme", ["Basic", "Token"])
def test_another_scheme_is_no_token(gateway: Gateway, scheme: str) -> None:
    answer = gateway.http.get("/v1/patients/x", headers={"authorization": f"{scheme} {gateway.keys.token()}"})
    assert (answer.status_code, reason(answer)) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("where", ["query", "cookie"])
def test_a_token_counts_only_in_its_header(gateway: Gateway, where: str) -> None:
    token = gateway.keys.token()
    query = f"?access_token={token}" if where == "query" else ""
    headers = {"cookie": f"access_token={token}"} if where == "cookie" else {}
    answer = gateway.http.get(f"/v1/patients/x{query}", headers=headers)
    assert (answer.status_code, reason(answer)) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("path", ["//v1/patients", "/v1/auth/../patients", "/v1/./patients", "/v1/auth/login/../me"])
def test_a_winding_path_needs_the_token_of_where_it_ends(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(str(gateway.http.base_url) + path)
    assert (answer.status_code, reason(answer)) == (401, "TOKEN_MISSING")


def test_the_token_reaches_the_service_and_forged_headers_do_not(gateway: Gateway) -> None:
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
    gateway.call(native("GetPatient").path, bearer | forged)
    assert len(gateway.arrived()) == 2
    for call in gateway.arrived():
        assert call.metadata["authorization"] == bearer["authorization"]
        assert not set(call.metadata.values()) & set(forged.values())
        assert call.metadata["x-remote-address"] == "127.0.0.1"
