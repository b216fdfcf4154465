"""POST /v1/auth/token: the client credentials grant of OAuth 2.0, as OAuth libraries use it."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError, OAuth2Error

from tests.e2e.sessions import Session, a_patient
from tools.instance import Instance

SCOPE = "patients.read patients.write"
FORM = {"grant_type": "client_credentials"}


@dataclass
class Endpoint:
    """The token endpoint, and the credentials of a client."""

    url: str
    client_id: str
    secret: str

    def send(self, data: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        """Sends a form, with credentials in the authorization header unless the options replace it."""
        return httpx.post(self.url, data=data, **({"auth": (self.client_id, self.secret)} | options))


@pytest.fixture(scope="module")
def endpoint(system: Instance, admin: Session) -> Endpoint:
    created = admin.post("/v1/clients", {"displayName": "Test", "scope": SCOPE})
    return Endpoint(f"{system.url}/v1/auth/token", created["client"]["id"], created["clientSecret"])


def fetch_with_library(endpoint: Endpoint, secret: str, **fields: Any) -> dict[str, Any]:
    """Returns the token that a library has parsed. Raises OAuth2Error."""
    client = BackendApplicationClient(endpoint.client_id)
    body = client.prepare_request_body(client_secret=secret, include_client_id=True, **fields)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = httpx.post(endpoint.url, content=body, headers=headers)
    token: dict[str, Any] = client.parse_request_body_response(response.text)
    return token


def test_oauth_library_obtains_a_token(endpoint: Endpoint, system: Instance) -> None:
    token = fetch_with_library(endpoint, endpoint.secret, scope=["patients.read"])
    assert (token["token_type"], token["scope"]) == ("Bearer", ["patients.read"])
    with Session.open(system, token["access_token"]) as client:
        assert client.rest.get("/v1/patients").status_code == 200


@pytest.mark.parametrize(
    ("secret", "scope", "error"),
    [("wrong", "patients.read", InvalidClientError), ("", "billing.read", InvalidScopeError)],
)
def test_oauth_library_understands_the_error(
    endpoint: Endpoint, secret: str, scope: str, error: type[OAuth2Error]
) -> None:
    with pytest.raises(error):
        fetch_with_library(endpoint, secret or endpoint.secret, scope=[scope])


@pytest.mark.parametrize("form", ["header", "form", "json"])
def test_credentials_are_accepted_in_each_form(endpoint: Endpoint, form: str) -> None:
    fields = FORM | {"client_id": endpoint.client_id, "client_secret": endpoint.secret}
    response = {
        "header": lambda: endpoint.send(FORM),
        "form": lambda: endpoint.send(fields, auth=None),
        "json": lambda: endpoint.send(json=fields, auth=None),
    }[form]()
    assert response.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
        ({"scope": "billing.read", **FORM}, 400, "invalid_scope"),
        ({"client_secret": "twice", **FORM}, 400, "invalid_request"),
    ],
)
def test_error_has_the_form_of_oauth(endpoint: Endpoint, form: dict[str, str], status: int, error: str) -> None:
    response = endpoint.send(form or {"unknown": "x"})
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert response.json()["error_description"] == response.json()["message"]


def test_wrong_credentials_are_challenged(endpoint: Endpoint) -> None:
    response = endpoint.send(FORM, auth=(endpoint.client_id, "wrong"))
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.headers["www-authenticate"] == 'Basic realm="pulsetrack"'


def test_unknown_and_empty_parameters_are_ignored(endpoint: Endpoint) -> None:
    assert endpoint.send(FORM | {"audience": "x", "scope": ""}).json()["scope"] == SCOPE


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", 400),
        ("grant_type=%ff&client_id=%00%22%5C", 400),
        ("grant_type=%22%7D&client_id=%0A&=x&&x", 400),
        ("grant_type=" + "x" * 20_000, 413),
    ],
)
def test_malformed_form_is_an_invalid_request(endpoint: Endpoint, body: str, status: int) -> None:
    response = endpoint.send(content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert response.status_code == status
    assert response.json()["error"] in {"invalid_request", "unsupported_grant_type"}


def test_no_other_path_accepts_a_form(system: Instance) -> None:
    response = httpx.post(f"{system.url}/v1/auth/login", data={"email": "a@b.test", "password": "x"})
    assert (response.status_code, "error" in response.json()) == (415, False)


def test_invalid_body_of_a_permitted_client_is_reported(endpoint: Endpoint, system: Instance) -> None:
    read, write = (
        endpoint.send(FORM | {"scope": f"patients.{each}"}).json()["access_token"] for each in ("read", "write")
    )
    for token, reason in ((read, "SCOPE_REQUIRED"), (write, "JSON_INVALID")):
        with Session.open(system, token) as client:
            response = client.rest.post("/v1/patients", json={"naem": "x"})
            assert response.json()["details"][0]["reason"] == reason


def test_client_is_the_actor_of_its_changes(endpoint: Endpoint, system: Instance) -> None:
    with Session.open(system, endpoint.send(FORM).json()["access_token"]) as client:
        created = client.post("/v1/patients", a_patient())
        [revision] = client.get(f"/v1/patients/{created['id']}/revisions")["revisions"]
    assert revision["actorId"] == endpoint.client_id
