"""Pages of the origins that the target names may call; others may not."""

from pathlib import Path

import pytest

from envoy.target import parse_origins
from tests.envoy.conftest import PAGE
from tests.envoy.gateway import Gateway, running

STRANGERS = [
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
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    answer = gateway.http.options("/v1/patients/x", headers={"origin": origin, **asked})
    assert answer.status_code == 200
    return dict(answer.headers)


def test_a_preflight_is_answered_without_a_token(gateway: Gateway) -> None:
    allowed = preflight(gateway, PAGE)
    assert allowed["access-control-allow-origin"] == PAGE
    assert "PATCH" in allowed["access-control-allow-methods"]
    assert {"authorization", "x-grpc-web"} <= set(allowed["access-control-allow-headers"].split(", "))
    assert not gateway.arrived()


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_stranger_is_not_allowed(gateway: Gateway, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(gateway, origin)
    assert not gateway.arrived()


def test_a_page_may_read_answers_and_errors(gateway: Gateway) -> None:
    for headers in (gateway.bearer, {}):
        answer = gateway.http.get("/v1/patients/x", headers={"origin": PAGE, **headers})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "grpc-status-details-bin" in answer.headers["access-control-expose-headers"]


def test_no_origin_is_allowed_unless_configured(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        for origin in (PAGE, *STRANGERS, f"http://localhost:{gateway.target.listen.port}"):
            assert "access-control-allow-origin" not in preflight(gateway, origin)


@pytest.mark.parametrize("text", ["*", "http://localhost:*", "clinic.example", "https://clinic.example/page", "null"])
def test_what_is_not_an_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origins(text)


def test_origins_are_separated_by_commas() -> None:
    assert parse_origins(" https://a.example, http://b:8080,") == ("https://a.example", "http://b:8080")
    assert parse_origins("") == ()
