"""User management by an admin over REST."""

from collections.abc import Iterator

import httpx
import pytest

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from tests.e2e.sessions import PASSWORD, Session, list_all
from tests.harness.client import Rejected
from tests.harness.waiting import eventually
from tools.instance import Instance


@pytest.fixture
def ana(system: Instance) -> Iterator[Session]:
    """A user that the admin manages."""
    with Session.sign_up(system) as session:
        yield session


def get_error(response: httpx.Response) -> tuple[int, str]:
    """Returns the status and the reason of an error response."""
    return response.status_code, response.json()["details"][0]["reason"]


def get_outcome(response: httpx.Response) -> tuple[int, str]:
    """Returns the status of a response, and the reason of an error."""
    return get_error(response) if response.is_error else (response.status_code, "")


def test_admin_disables_and_enables_a_user(admin: Session, ana: Session) -> None:
    user = ana.get("/v1/auth/me")
    path, login = f"/v1/users/{user['id']}", {"email": user["email"], "password": PASSWORD}
    assert admin.rest.patch(path, json={"disabled": True}).raise_for_status().json() == user | {"disabled": True}
    assert get_error(ana.rest.post("/v1/auth/login", json=login)) == (403, "USER_DISABLED")
    refresh = {"refreshToken": ana.refresh_token}
    assert get_error(ana.rest.post("/v1/auth/refresh", json=refresh)) == (401, "REFRESH_TOKEN_INVALID")
    assert admin.rest.patch(path, params={"updateMask": "disabled"}, json={}).raise_for_status().json() == user
    assert ana.post("/v1/auth/login", login)["accessToken"]


def test_disabling_a_user_ends_calls_and_watches(admin: Session, ana: Session) -> None:
    path = f"/v1/users/{ana.get('/v1/auth/me')['id']}"
    native = ana.client("patient").watch_patients(WatchPatientsRequest())
    with native as responses, ana.rest.stream("GET", "/v1/patients:watch", timeout=60) as watch:
        lines = watch.iter_lines()
        next(responses)
        next(lines)
        admin.rest.patch(path, json={"disabled": True}).raise_for_status()
        with pytest.raises(Rejected, match="USER_DISABLED"):
            list(responses)
        list(lines)  # the stream ends, over REST without a reason
    for method in ("/v1/patients", "/v1/billing/accounts", "/v1/analytics/events", "/v1/auth/me"):
        eventually(lambda method=method: get_outcome(ana.rest.get(method)) == (403, "USER_DISABLED"))  # type: ignore[misc]


def test_token_of_a_demoted_admin_is_rejected(system: Instance, admin: Session) -> None:
    new = {"email": "max@clinic.test", "username": "max", "password": PASSWORD, "role": "ROLE_ADMIN"}
    user = admin.post("/v1/users", new)
    with Session.log_in(system, new["email"], PASSWORD) as demoted:
        demoted.get("/v1/analytics/dead-letters")
        admin.rest.patch(f"/v1/users/{user['id']}", json={"role": "ROLE_USER"}).raise_for_status()
        eventually(lambda: get_outcome(demoted.rest.get("/v1/analytics/dead-letters")) == (401, "TOKEN_INVALID"))
    with Session.log_in(system, new["email"], PASSWORD) as again:
        assert get_error(again.rest.get("/v1/analytics/dead-letters")) == (403, "ROLE_REQUIRED")


def test_admin_creates_another_admin(system: Instance, admin: Session) -> None:
    new = {"email": "eva@clinic.test", "username": "eva", "password": PASSWORD, "role": "ROLE_ADMIN"}
    user = admin.post("/v1/users", new)
    assert user in list_all(admin, "/v1/users", "users")
    with Session.log_in(system, new["email"], PASSWORD) as eva:
        assert user in eva.get("/v1/users")["users"]
        taken = eva.rest.post("/v1/users", json=new)
    assert get_error(taken) == (409, "EMAIL_ALREADY_EXISTS")


def test_update_with_a_conflicting_id_is_rejected(admin: Session, ana: Session) -> None:
    own, other = admin.get("/v1/auth/me"), ana.get("/v1/auth/me")
    response = admin.rest.patch(f"/v1/users/{other['id']}", json={"id": own["id"], "role": "ROLE_ADMIN"})
    assert response.status_code == 400
    assert ana.get("/v1/auth/me") == other


def test_update_of_an_immutable_field_is_rejected(admin: Session, ana: Session) -> None:
    path = f"/v1/users/{ana.get('/v1/auth/me')['id']}"
    assert get_error(admin.rest.patch(path, json={"email": "new@clinic.test"})) == (400, "FIELDS_INVALID")
    assert get_error(admin.rest.patch(path, params={"updateMask": "email"}, json={})) == (400, "FIELDS_INVALID")
