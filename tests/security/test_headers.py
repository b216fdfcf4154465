"""Malformed and oversized headers of anonymous clients, and their effect on other clients."""

import struct
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import Session
from tools.instance import Instance

MALFORMED = [
    (b"grpc-timeout", b"x"),
    (b"grpc-timeout", b"-1S"),
    (b"grpc-encoding", b"banana"),
    (b"grpc-accept-encoding", b"\xff"),
    (b"grpc-internal-encoding-request", b"banana"),
    (b"grpc-status", b"x"),
    (b"grpc-message", b"%zz\xff"),
    (b"grpc-previous-rpc-attempts", b"x"),
    (b"grpc-retry-pushback-ms", b"x"),
    (b"grpc-server-stats-bin", b"!!!"),
    (b"grpc-trace-bin", b"!!!"),
    (b"grpc-tags-bin", b"!!!"),
    (b"grpc-lb-client-stats", b"!!!"),
    (b"lb-cost-bin", b"AA"),
    (b"lb-token", b"\xff"),
    (b"x-envoy-peer-metadata", b"!!!"),
    (b"endpoint-load-metrics-bin", b"!!!"),
    (b"x-trace-bin", b"!!!"),
    (b"x-trace-bin", b"AAAA"),
    (b"te", b"banana"),
    (b"user-agent", b"\xff"),
    (b"authorization", b"\xff"),
    (b"idempotency-key", b"\xff"),
    (b"x_tenant_id", b"7"),
    (b"traceparent", b"\xff"),
    (b"baggage", b"\xff"),
]
"""Malformed values of every header that grpc-core or a service parses, and others. tests/envoy covers content types."""

EMPTY, CHECK = struct.pack(">BI", 0, 0), "/grpc.health.v1.Health/Check"
LIST_SERVICES = struct.pack(">BI", 0, 2) + b"\x3a\x00"
GET_JWKS = "/pulsetrack.auth.v1.AuthService/GetJwks"
ROUTES = [
    ("GET", "/.well-known/jwks.json", "", b""),
    ("GET", "/v1/patients", "", b""),
    ("POST", GET_JWKS, "application/grpc", EMPTY),
    ("POST", "/pulsetrack.patient.v1.PatientService/ListPatients", "application/grpc", EMPTY),
    ("POST", CHECK, "application/grpc", EMPTY),
    ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "application/grpc", LIST_SERVICES),
    ("POST", GET_JWKS, "application/grpc-web+proto", EMPTY),
]
NAMES = [
    "public REST",
    "authenticated REST",
    "public native",
    "authenticated native",
    "health",
    "reflection",
    "gRPC-Web",
]
_FAULTS = {"2", "13"}  # UNKNOWN, INTERNAL


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_malformed_header_does_not_affect_other_calls(
    system: Instance, user: Session, other_channel: grpc.Channel, route: tuple[str, str, str, bytes]
) -> None:
    verb, path, content_type, body = route
    tokens = [b"", f"Bearer {user.token}".encode()]
    with httpx.Client(base_url=system.url, timeout=10) as http:
        for header in MALFORMED:
            for token in tokens:
                headers = [header, (b"content-type", content_type.encode()), (b"authorization", token)]
                response = http.request(verb, path, headers=[item for item in headers if item[1]], content=body)
                assert_ok_or_rejected(response)
    for _ in range(25):
        make_good_calls(other_channel, user)


def assert_ok_or_rejected(response: httpx.Response) -> None:
    """Checks that a response is a success or a client error of the contract."""
    assert response.status_code < 500
    if response.status_code >= 400:
        assert response.json()["details"][0]["reason"]
    status = response.headers.get("grpc-status", "0")
    assert status not in _FAULTS
    assert status == "0" or response.headers["grpc-status-details-bin"]


def make_good_calls(channel: grpc.Channel, user: Session) -> None:
    """Calls each service with a deadline, compression and binary metadata."""
    metadata = [("x-trace-bin", b"\x01\x02"), ("grpc-tags-bin", b"\x00\x00"), ("authorization", f"Bearer {user.token}")]
    for path in (
        f"/{SERVICES['auth']}/GetCurrentUser",
        f"/{SERVICES['patient']}/ListPatients",
        f"/{SERVICES['billing']}/ListBillingAccounts",
        f"/{SERVICES['analytics']}/ListPatientEvents",
    ):
        method: Any = channel.unary_unary(path)
        method(b"", metadata=metadata, timeout=10, compression=grpc.Compression.Gzip)


@pytest.fixture
def other_channel(system: Instance) -> Iterator[grpc.Channel]:
    """A connection of another client."""
    with grpc.insecure_channel(system.url.removeprefix("http://")) as channel:
        yield channel


def test_non_ascii_headers_do_not_fill_service_logs(system: Instance, user: Session) -> None:
    flood = [(f"x-{n}".encode(), b"\xff" * 200) for n in range(80)]
    headers = [*flood, (b"authorization", f"Bearer {user.token}".encode())]
    before = log_bytes(system)
    with httpx.Client(base_url=system.url, timeout=10) as http:
        for _ in range(30):
            http.get("/v1/patients", headers=headers).raise_for_status()
            http.get("/.well-known/jwks.json", headers=flood).raise_for_status()
    assert log_bytes(system) - before < 10_000


def log_bytes(system: Instance) -> int:
    """Returns the total size of the service logs, in bytes."""
    return sum((system.folder / "logs" / f"{service}.log").stat().st_size for service in SERVICES)


@pytest.mark.parametrize("size", [9_500, 13_000, 31_000])
def test_long_cookie_is_accepted(user: Session, size: int) -> None:
    for _ in range(30):
        response = user.rest.get("/v1/patients", params={"pageSize": 1}, headers={"cookie": "a" * size})
        assert response.status_code == 200


def test_long_known_headers_are_accepted(user: Session) -> None:
    for _ in range(30):
        response = user.rest.get("/v1/patients", params={"pageSize": 1}, headers={"user-agent": "a" * 31_000})
        assert response.status_code == 200


def test_too_long_cookie_is_rejected_every_time(user: Session) -> None:
    for _ in range(30):
        response = user.rest.get("/v1/patients", params={"pageSize": 1}, headers={"cookie": "a" * 33_000})
        assert (response.status_code, response.json()["details"][0]["reason"]) == (431, "HEADERS_TOO_LARGE")
