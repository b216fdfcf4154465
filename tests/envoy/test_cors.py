"""Pages of the origins that the target names may call; others may not."""

import pytest

from tests.envoy.gateway import Gateway

PAGE = "http://localhost:5173"
STRANGERS = ["https://evil.test", "http://localhost.evil.test:80", "http://localhost:80/@evil.test", "null"]


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
