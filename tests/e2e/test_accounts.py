"""Invitations, passwords, second factors and sessions through the gateway."""

import time
from base64 import b32decode
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from gen.pulsetrack.analytics.v1 import ListPatientEventsRequest
from gen.pulsetrack.auth.v1 import GetCurrentUserRequest
from gen.pulsetrack.billing.v1 import ListBillingAccountsRequest
from gen.pulsetrack.patient.v1 import ListPatientsRequest, WatchPatientsRequest
from tests.e2e.sessions import PASSWORD, Session
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.waiting import eventually
from tools.instance import Instance

REQUESTS = {
    "auth": ("get_current_user", GetCurrentUserRequest()),
    "patient": ("list_patients", ListPatientsRequest(page_size=1)),
    "billing": ("list_billing_accounts", ListBillingAccountsRequest(page_size=1)),
    "analytics": ("list_patient_events", ListPatientEventsRequest(page_size=1)),
}
"""A call of each service that every user may make."""
SECONDS = 5
"""The time within which every service rejects the tokens of an ended session."""


@pytest.fixture
def session(system: Instance) -> Iterator[Session]:
    """A session of a user of its own."""
    with Session.sign_up(system) as session:
        yield session


def call(client: Client, service: str) -> object:
    """Calls a service and returns the response or its rejection."""
    name, request = REQUESTS[service]
    return attempt(partial(getattr(client, name), request))


def test_every_service_rejects_the_tokens_of_an_ended_session(system: Instance, session: Session) -> None:
    clients = {service: session.client(service) for service in REQUESTS}
    assert not any(isinstance(call(client, service), Rejected) for service, client in clients.items())
    session.post("/v1/auth/me/sessions:revoke", {"includeCurrent": True})
    ended = time.monotonic()
    for service, client in clients.items():
        with connect(system.state().ports[service], service) as direct:
            for each in (client, direct.with_token(session.token)):
                assert eventually(partial(find_rejection, each, service)) == "TOKEN_INVALID"
    assert time.monotonic() - ended < SECONDS


def find_rejection(client: Client, service: str) -> str:
    response = call(client, service)
    return response.reason if isinstance(response, Rejected) else ""


def test_watch_ends_with_its_session(session: Session) -> None:
    with session.client("patient").watch_patients(WatchPatientsRequest()) as watch:
        next(watch)
        session.post("/v1/auth/me/sessions:revoke", {"includeCurrent": True})
        with pytest.raises(Rejected) as rejected:
            list(watch)
    assert rejected.value.reason == "TOKEN_INVALID"


def test_invited_person_signs_up_over_rest(system: Instance, admin: Session) -> None:
    email = f"{uuid4()}@clinic.test"
    invited = admin.post("/v1/invitations", {"email": email})
    with Session.open(system) as visitor:
        new = {"token": invited["token"], "username": uuid4().hex, "password": PASSWORD}
        assert visitor.post("/v1/auth/invitations:accept", new)["email"] == email
    with Session.log_in(system, email, PASSWORD) as session:
        [current] = session.get("/v1/auth/me/sessions")["sessions"]
    assert (current["current"], current["remoteAddress"]) == (True, "127.0.0.1")
    assert current["userAgent"].startswith("python-httpx/")


def test_login_is_a_security_event_with_the_client_of_the_gateway(admin: Session, session: Session) -> None:
    user = session.get("/v1/auth/me")
    login = {"email": user["email"], "password": PASSWORD}
    session.rest.post("/v1/auth/login", json=login, headers={"user-agent": "my client"}).raise_for_status()
    query = {"type": "SECURITY_EVENT_TYPE_LOGIN_SUCCEEDED", "subjectId": user["id"]}
    event, _ = admin.get("/v1/auth/security-events", **query)["securityEvents"]
    assert (event["userAgent"], event["remoteAddress"], event["actorId"]) == ("my client", "127.0.0.1", user["id"])


def test_password_is_changed_and_reset_over_rest(system: Instance, admin: Session, session: Session) -> None:
    user = session.get("/v1/auth/me")
    session.post("/v1/auth/me:changePassword", {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} 2"})
    with Session.log_in(system, user["email"], f"{PASSWORD} 2"):
        pass
    token = admin.post(f"/v1/users/{user['id']}:createPasswordReset", {})["token"]
    with Session.open(system) as visitor:
        visitor.post("/v1/auth/password:reset", {"token": token, "newPassword": f"{PASSWORD} 3"})
    with Session.log_in(system, user["email"], f"{PASSWORD} 3"):
        pass
    assert len(admin.get(f"/v1/users/{user['id']}/sessions")["sessions"]) == 1


def test_second_factor_is_set_up_used_and_removed_over_rest(system: Instance, session: Session) -> None:
    user = session.get("/v1/auth/me")
    secret = session.post("/v1/auth/me/secondFactor:enroll", {"currentPassword": PASSWORD})["secret"]
    code = TOTP(b32decode(secret), 6, SHA1(), 30).generate(time.time()).decode()
    recovery_codes = session.post("/v1/auth/me/secondFactor:confirm", {"code": code})["recoveryCodes"]
    assert session.get("/v1/auth/me")["secondFactor"] is True
    with Session.open(system) as visitor:
        challenged = visitor.post("/v1/auth/login", {"email": user["email"], "password": PASSWORD})
        assert {name for name, value in challenged.items() if value} == {"challenge"}
        answer = {"challenge": challenged["challenge"], "code": recovery_codes[0]}
        tokens = visitor.post("/v1/auth/login:verify", answer)
    with Session.open(system, tokens["accessToken"]) as verified:
        removal = {"currentPassword": PASSWORD, "code": recovery_codes[1]}
        verified.post("/v1/auth/me/secondFactor:remove", removal)
    with Session.log_in(system, user["email"], PASSWORD):
        pass
