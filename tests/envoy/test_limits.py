"""How often an address may call, and what it hears when that was too often."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from envoy.rate_limits import CREDENTIALS
from envoy.target import Rate, Rates
from services.common.protobuf.contract import REMOTE_ADDRESS, AccessKind, all_methods
from tests.envoy.gateway import Gateway, answers, native, native_reason, reason, running
from tests.harness.waiting import eventually

RATES = Rates(credentials=Rate(3, 60), calls=Rate(20, 60))


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with full buckets."""
    with running(tmp_path, rates=RATES) as gateway:
        yield gateway


def logins(gateway: Gateway, count: int, **headers: str) -> list[int]:
    """Returns the statuses of so many logins."""
    return [gateway.http.post("/v1/auth/login", json={}, headers=headers).status_code for _ in range(count)]


@pytest.mark.parametrize("path", ["/v1/auth/login", "/v1/auth/signup", "/v1/auth/refresh"])
def test_credentials_have_a_bucket_of_their_own_for_each_method(limited: Gateway, path: str) -> None:
    found = [limited.http.post(path, json={}).status_code for _ in range(5)]
    assert found == [200, 200, 200, 429, 429]
    assert limited.http.get("/v1/patients", headers=limited.bearer).status_code == 200


def test_both_doors_take_from_one_bucket(limited: Gateway) -> None:
    assert logins(limited, 2) == [200, 200]
    limited.call(native("Login").path)
    with pytest.raises(grpc.RpcError) as refused:
        limited.call(native("Login").path)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert native_reason(refused.value) == "RATE_LIMITED"
    assert logins(limited, 1) == [429]


def test_a_refusal_says_when_to_come_back(limited: Gateway) -> None:
    assert logins(limited, 3) == [200, 200, 200]
    answer = limited.http.post("/v1/auth/login", json={})
    assert (answer.status_code, answer.json()["code"], reason(answer)) == (429, 8, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-ratelimit-limit"].startswith("3")
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert int(answer.headers["x-ratelimit-reset"]) > 0


def test_an_answer_says_how_many_calls_are_left(limited: Gateway) -> None:
    left = [
        int(limited.http.get("/v1/patients", headers=limited.bearer).headers["x-ratelimit-remaining"]) for _ in range(3)
    ]
    assert left == [left[0], left[0] - 1, left[0] - 2]


def test_all_other_calls_share_a_bucket_with_or_without_a_token(limited: Gateway) -> None:
    for _ in range(10):
        limited.http.get("/v1/patients")
        limited.http.get("/v1/auth/me", headers=limited.bearer)
    answer = limited.http.get("/v1/billing/accounts", headers=limited.bearer)
    assert (answer.status_code, reason(answer)) == (429, "RATE_LIMITED")
    with pytest.raises(grpc.RpcError) as refused:
        limited.call(native("GetPatient").path, limited.bearer)
    assert native_reason(refused.value) == "RATE_LIMITED"
    assert limited.http.get("/healthz").status_code == 200


def test_another_address_has_other_buckets(limited: Gateway) -> None:
    assert logins(limited, 4)[-1] == 429
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=limited.http.base_url, transport=elsewhere) as other:
        assert other.post("/v1/auth/login", json={}).status_code == 200


def test_behind_a_trusted_proxy_each_of_its_callers_has_a_bucket_and_nobody_gets_another_by_a_header(
    tmp_path: Path,
) -> None:
    with running(tmp_path, rates=RATES, trusted_proxies=1) as gateway:
        one = [logins(gateway, 1, **{"x-forwarded-for": f"203.0.113.{n}, 198.51.100.1"})[0] for n in range(4)]
        assert one == [200, 200, 200, 429]
        assert logins(gateway, 1, **{"x-forwarded-for": "198.51.100.2"}) == [200]
        addresses = [call.metadata[REMOTE_ADDRESS] for call in gateway.arrived()]
    assert addresses == 3 * ["198.51.100.1"] + ["198.51.100.2"]


def test_ipv6_addresses_of_one_network_share_a_bucket(tmp_path: Path) -> None:
    with running(tmp_path, rates=RATES, trusted_proxies=1) as gateway:
        one = [logins(gateway, 1, **{"x-forwarded-for": f"2001:db8:0:1:{n}::{n}"})[0] for n in range(1, 5)]
        assert one == [200, 200, 200, 429]
        assert logins(gateway, 1, **{"x-forwarded-for": "2001:db8:0:2::1"}) == [200]


def test_nobody_gets_another_bucket_by_a_header(limited: Gateway) -> None:
    spoofed = [
        logins(limited, 1, **{"x-forwarded-for": f"203.0.113.{n}", "x-envoy-external-address": f"203.0.113.{n}"})[0]
        for n in range(4)
    ]
    assert spoofed == [200, 200, 200, 429]


def test_a_bucket_fills_again(tmp_path: Path) -> None:
    with running(tmp_path, rates=Rates(credentials=Rate(2, 1))) as gateway:
        assert logins(gateway, 3) == [200, 200, 429]
        eventually(lambda: logins(gateway, 1) == [200])


def test_without_limits_nobody_is_refused(gateway: Gateway) -> None:
    assert set(logins(gateway, 40)) == {200}


def test_the_methods_that_take_credentials_are_of_the_contract() -> None:
    public = {method.name for method in all_methods() if method.access.kind is AccessKind.PUBLIC}
    assert set(CREDENTIALS) < public


def test_readiness_is_never_refused(limited: Gateway) -> None:
    eventually(lambda: answers(limited.http, "/readyz", 200))
    assert {limited.http.get("/readyz").status_code for _ in range(40)} == {200}
