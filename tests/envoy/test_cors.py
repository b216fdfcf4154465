"""CORS: only configured origins are allowed."""

from pathlib import Path

import pytest

from envoy.target import parse_origins
from tests.envoy.conftest import ORIGIN
from tests.envoy.gateway import Gateway, run_gateway

UNKNOWN_ORIGINS = [
    "http://localhost:3000",
    "http://localhost:51730",
    "http://127.0.0.1:5173",
    "https://localhost:5173",
    "https://evil.test",
    "http://localhost.evil.test:80",
    "http://localhost:80/@evil.test",
    "null",
]


def preflight(gateway: Gateway, origin: str) -> dict[str, str]:
    request_headers = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    response = gateway.http.options("/v1/patients/x", headers={"origin": origin, **request_headers})
    assert response.status_code == 200
    return dict(response.headers)


def test_preflight_requires_no_token(gateway: Gateway) -> None:
    allowed = preflight(gateway, ORIGIN)
    assert allowed["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in allowed["access-control-allow-methods"]
    assert {"authorization", "x-grpc-web"} <= set(allowed["access-control-allow-headers"].split(", "))
    assert not gateway.received_calls()


@pytest.mark.parametrize("origin", UNKNOWN_ORIGINS)
def test_unknown_origin_is_rejected(gateway: Gateway, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(gateway, origin)
    assert not gateway.received_calls()


def test_allowed_origin_can_read_responses_and_errors(gateway: Gateway) -> None:
    for headers in (gateway.bearer, {}):
        response = gateway.http.get("/v1/patients/x", headers={"origin": ORIGIN, **headers})
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "grpc-status-details-bin" in response.headers["access-control-expose-headers"]


def test_no_origin_is_allowed_by_default(tmp_path: Path) -> None:
    with run_gateway(tmp_path) as gateway:
        for origin in (ORIGIN, *UNKNOWN_ORIGINS, f"http://localhost:{gateway.target.listen.port}"):
            assert "access-control-allow-origin" not in preflight(gateway, origin)


@pytest.mark.parametrize("text", ["*", "http://localhost:*", "clinic.example", "https://clinic.example/page", "null"])
def test_invalid_origin_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origins(text)


def test_origins_are_comma_separated() -> None:
    assert parse_origins(" https://a.example, http://b:8080,") == ("https://a.example", "http://b:8080")
    assert parse_origins("") == ()
