"""An admin manages users by REST."""

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.people import PASSWORD, Person, all_pages
from tools.copy import Copy


@pytest.fixture
def ana(system: Copy) -> Iterator[Person]:
    """Somebody whom the admin manages."""
    with Person.signed_up(system) as person:
        yield person


def reason(answer: httpx.Response) -> tuple[int, str]:
    """Returns the status of an error and its reason."""
    return answer.status_code, answer.json()["details"][0]["reason"]


def test_an_admin_disables_a_user_and_enables_him_again(admin: Person, ana: Person) -> None:
    user = ana.get("/v1/auth/me")
    path, login = f"/v1/users/{user['id']}", {"email": user["email"], "password": PASSWORD}
    assert admin.rest.patch(path, json={"disabled": True}).raise_for_status().json() == user | {"disabled": True}
    assert reason(ana.rest.post("/v1/auth/login", json=login)) == (403, "USER_DISABLED")
    refresh = {"refreshToken": ana.refresh_token}
    assert reason(ana.rest.post("/v1/auth/refresh", json=refresh)) == (401, "REFRESH_TOKEN_INVALID")
    assert admin.rest.patch(path, params={"updateMask": "disabled"}, json={}).raise_for_status().json() == user
    assert ana.post("/v1/auth/login", login)["accessToken"]


def test_an_admin_makes_another(system: Copy, admin: Person) -> None:
    new = {"email": "eva@clinic.test", "username": "eva", "password": PASSWORD, "role": "ROLE_ADMIN"}
    user = admin.post("/v1/users", new)
    assert user in all_pages(admin, "/v1/users", "users")
    with Person.logged_in(system, new["email"], PASSWORD) as eva:
        assert user in eva.get("/v1/users")["users"]
        taken = eva.rest.post("/v1/users", json=new)
    assert reason(taken) == (409, "EMAIL_ALREADY_EXISTS")


def test_the_path_says_which_user_changes(admin: Person, ana: Person) -> None:
    mine, other = admin.get("/v1/auth/me"), ana.get("/v1/auth/me")
    answer = admin.rest.patch(f"/v1/users/{other['id']}", json={"id": mine["id"], "role": "ROLE_ADMIN"})
    assert answer.status_code == 400
    assert ana.get("/v1/auth/me") == other


def test_a_field_that_cannot_change_is_named(admin: Person, ana: Person) -> None:
    path = f"/v1/users/{ana.get('/v1/auth/me')['id']}"
    assert reason(admin.rest.patch(path, json={"email": "new@clinic.test"})) == (400, "FIELDS_INVALID")
    assert reason(admin.rest.patch(path, params={"updateMask": "email"}, json={})) == (400, "FIELDS_INVALID")
