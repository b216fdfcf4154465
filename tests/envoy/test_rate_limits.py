"""Rate limits per client address."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from envoy.rate_limits import CREDENTIALS
from envoy.target import Rate, Rates
from services.common.protobuf.contract import REMOTE_ADDRESS, AccessKind, Method, all_methods
from tests.envoy.gateway import Gateway, error_reason, grpc_error_reason, has_status, method_named, run_gateway
from tests.harness.waiting import eventually

RATES = Rates(credentials=Rate(3, 60), calls=Rate(20, 60))


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with low rate limits and full buckets."""
    with run_gateway(tmp_path, rates=RATES) as gateway:
        yield gateway


def logins(gateway: Gateway, count: int, **headers: str) -> list[int]:
    """Makes `count` logins and returns their HTTP statuses."""
    return [gateway.http.post("/v1/auth/login", json={}, headers=headers).status_code for _ in range(count)]


@pytest.mark.parametrize("path", ["/v1/auth/login", "/v1/auth/signup", "/v1/auth/refresh"])
def test_each_credential_method_has_its_own_bucket(limited: Gateway, path: str) -> None:
    statuses = [limited.http.post(path, json={}).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert limited.http.get("/v1/patients", headers=limited.bearer).status_code == 200


def test_grpc_and_rest_share_a_bucket(limited: Gateway) -> None:
    assert logins(limited, 2) == [200, 200]
    limited.call(method_named("Login").path)
    with pytest.raises(grpc.RpcError) as rejected:
        limited.call(method_named("Login").path)
    assert rejected.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert grpc_error_reason(rejected.value) == "RATE_LIMITED"
    assert logins(limited, 1) == [429]


def test_rate_limited_response_has_retry_headers(limited: Gateway) -> None:
    assert logins(limited, 3) == [200, 200, 200]
    response = limited.http.post("/v1/auth/login", json={})
    assert (response.status_code, response.json()["code"], error_reason(response)) == (429, 8, "RATE_LIMITED")
    assert int(response.headers["retry-after"]) > 0
    assert response.headers["x-ratelimit-limit"].startswith("3")
    assert response.headers["x-ratelimit-remaining"] == "0"
    assert int(response.headers["x-ratelimit-reset"]) > 0


def test_response_has_remaining_calls(limited: Gateway) -> None:
    remaining = [
        int(limited.http.get("/v1/patients", headers=limited.bearer).headers["x-ratelimit-remaining"]) for _ in range(3)
    ]
    assert remaining == [remaining[0], remaining[0] - 1, remaining[0] - 2]


def test_other_calls_share_a_bucket(limited: Gateway) -> None:
    for _ in range(10):
        limited.http.get("/v1/patients")
        limited.http.get("/v1/auth/me", headers=limited.bearer)
    response = limited.http.get("/v1/billing/accounts", headers=limited.bearer)
    assert (response.status_code, error_reason(response)) == (429, "RATE_LIMITED")
    with pytest.raises(grpc.RpcError) as rejected:
        limited.call(method_named("GetPatient").path, limited.bearer)
    assert grpc_error_reason(rejected.value) == "RATE_LIMITED"
    assert limited.http.get("/healthz").status_code == 200


def test_each_address_has_its_own_buckets(limited: Gateway) -> None:
    assert logins(limited, 4)[-1] == 429
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=limited.http.base_url, transport=transport) as other:
        assert other.post("/v1/auth/login", json={}).status_code == 200


def test_clients_behind_a_trusted_proxy_have_their_own_buckets(
    tmp_path: Path,
) -> None:
    with run_gateway(tmp_path, rates=RATES, trusted_proxies=1) as gateway:
        statuses = [logins(gateway, 1, **{"x-forwarded-for": f"203.0.113.{n}, 198.51.100.1"})[0] for n in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert logins(gateway, 1, **{"x-forwarded-for": "198.51.100.2"}) == [200]
        addresses = [call.metadata[REMOTE_ADDRESS] for call in gateway.received_calls()]
    assert addresses == 3 * ["198.51.100.1"] + ["198.51.100.2"]


def test_ipv6_addresses_of_one_network_share_a_bucket(tmp_path: Path) -> None:
    with run_gateway(tmp_path, rates=RATES, trusted_proxies=1) as gateway:
        statuses = [logins(gateway, 1, **{"x-forwarded-for": f"2001:db8:0:1:{n}::{n}"})[0] for n in range(1, 5)]
        assert statuses == [200, 200, 200, 429]
        assert logins(gateway, 1, **{"x-forwarded-for": "2001:db8:0:2::1"}) == [200]


def test_forwarded_header_does_not_change_the_bucket(limited: Gateway) -> None:
    statuses = [
        logins(limited, 1, **{"x-forwarded-for": f"203.0.113.{n}", "x-envoy-external-address": f"203.0.113.{n}"})[0]
        for n in range(4)
    ]
    assert statuses == [200, 200, 200, 429]


def test_bucket_is_refilled(tmp_path: Path) -> None:
    with run_gateway(tmp_path, rates=Rates(credentials=Rate(2, 1))) as gateway:
        assert logins(gateway, 3) == [200, 200, 429]
        eventually(lambda: logins(gateway, 1) == [200])


def test_no_call_is_rejected_without_rate_limits(gateway: Gateway) -> None:
    assert set(logins(gateway, 40)) == {200}


def test_credential_methods_are_those_with_secrets_that_any_client_can_call() -> None:
    def has_secret(method: Method) -> bool:
        return any(field.GetOptions().debug_redact for field in method.input.DESCRIPTOR.fields)

    callable_by_all = [m for m in all_methods() if m.access.kind is AccessKind.PUBLIC or "USER" in m.access.roles]
    with_secret = {method.name for method in callable_by_all if has_secret(method)} - {"Logout"}
    assert with_secret | {"RequestPasswordReset", "RequestEmailVerification"} == set(CREDENTIALS)


def test_readiness_is_not_rate_limited(limited: Gateway) -> None:
    eventually(lambda: has_status(limited.http, "/readyz", 200))
    assert {limited.http.get("/readyz").status_code for _ in range(40)} == {200}
