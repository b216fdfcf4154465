"""Queries of REST requests: errors name each invalid parameter as the client wrote it."""

from typing import Any

import pytest

from tests.envoy.gateway import Gateway, error_reason

SEX = "must be one of SEX_UNSPECIFIED, SEX_FEMALE, SEX_MALE, SEX_OTHER"
TIME = "must be a time such as 2026-01-31T09:00:00Z (RFC 3339)"
UNKNOWN = "is not a parameter of this request"


def get(gateway: Gateway, target: str, verb: str = "GET") -> tuple[str, dict[str, str]]:
    """Returns the reason and the violations of a rejected request."""
    response = gateway.http.request(verb, target, headers=gateway.bearer)
    assert response.status_code == 400, response.text
    info, *details = response.json()["details"]
    violations: list[Any] = [each for detail in details for each in detail["fieldViolations"]]
    return info["reason"], {each["field"]: each["description"] for each in violations}


@pytest.mark.parametrize(
    ("query", "violations"),
    [
        ("pageSize=abc", {"pageSize": "must be an integer"}),
        ("page_size=1.5", {"page_size": "must be an integer"}),
        ("pageSize=12345678901", {"pageSize": "must be an integer"}),
        ("sex=FEMALE", {"sex": SEX}),
        ("sex=99", {"sex": SEX}),
        ("showDeleted=maybe", {"showDeleted": "must be true or false"}),
        ("pageSize", {"pageSize": "must be an integer"}),
        ("pageSize=&sex=", {"pageSize": "must be an integer", "sex": SEX}),
        ("pageSize=abc&showDeleted=True&query=", {"pageSize": "must be an integer"}),
        ("pageSize=abc&query=x&sex=female", {"pageSize": "must be an integer", "sex": SEX}),
    ],
)
def test_invalid_parameters_are_named(gateway: Gateway, query: str, violations: dict[str, str]) -> None:
    assert get(gateway, f"/v1/patients?{query}") == ("QUERY_PARAMETER_INVALID", violations)
    assert not gateway.received_calls()


def test_invalid_time_is_named(gateway: Gateway) -> None:
    assert get(gateway, "/v1/analytics/statistics?start=yesterday")[1] == {"start": TIME}


@pytest.mark.parametrize("target", ["/v1/patients?foo=1&pageSize=x", "/v1/auth/me?foo", "/v1/patients/7?%69d=8"])
def test_unknown_parameters_are_named(gateway: Gateway, target: str) -> None:
    reason, violations = get(gateway, target)
    assert reason == "QUERY_PARAMETER_UNKNOWN"
    assert UNKNOWN in violations.values()


def test_number_of_reported_parameters_is_limited(gateway: Gateway) -> None:
    query = "&".join(f"name{number}=1" for number in range(100))
    assert len(get(gateway, f"/v1/patients?{query}")[1]) == 20


@pytest.mark.parametrize(
    "query",
    [
        "pageSize=%31%30",
        "pageSize=10",
        "sex=SEX_MALE",
        "sex=1",
        "sex=SEX%5FMALE",
        "showDeleted=TRUE",
        "showDeleted=1",
        "&&",
    ],
)
def test_valid_parameters_are_accepted(gateway: Gateway, query: str) -> None:
    assert gateway.http.get(f"/v1/patients?{query}", headers=gateway.bearer).status_code == 200


@pytest.mark.parametrize(
    "start", ["2026-01-02T03:04:05.678Z", "2026-01-02T03%3A04%3A05%2B01%3A00", "2026-01-02T03:04:05-01:00"]
)
def test_times_are_accepted(gateway: Gateway, start: str) -> None:
    response = gateway.http.get(f"/v1/analytics/statistics?start={start}", headers=gateway.bearer)
    assert response.status_code == 200


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "query",
    ["pageSize=1&pageSize=2", "page_size=1&pageSize=1", "query=&orderBy=name&query=", "&sex=SEX_MALE&&sex=SEX_MALE"],
)
def test_repeated_parameter_is_rejected(gateway: Gateway, verb: str, query: str) -> None:
    response = gateway.http.request(verb, f"/v1/patients?{query}", headers=gateway.bearer)
    assert response.status_code == 400
    assert verb == "HEAD" or error_reason(response) == "QUERY_PARAMETER_INVALID"
    assert not gateway.received_calls()


def test_repeated_parameter_is_named(gateway: Gateway) -> None:
    assert get(gateway, "/v1/patients?page_size=1&pageSize=1&query=a&query=b") == (
        "QUERY_PARAMETER_INVALID",
        {"pageSize": "must not be repeated", "query": "must not be repeated"},
    )


def test_parameter_of_a_list_may_be_repeated(gateway: Gateway) -> None:
    path = "/v1/patients:batchGet?ids=a&ids=b"
    assert gateway.http.get(path, headers=gateway.bearer).status_code == 200
    [call] = gateway.received_calls()
    assert [*call.request.ids] == ["a", "b"]


def test_update_mask_may_be_repeated(gateway: Gateway) -> None:
    path = "/v1/patients/7?updateMask=phone&updateMask=sex"
    assert gateway.http.patch(path, json={"phone": "112"}, headers=gateway.bearer).status_code == 200
    [call] = gateway.received_calls()
    assert [*call.request.update_mask.paths] == ["phone", "sex"]
