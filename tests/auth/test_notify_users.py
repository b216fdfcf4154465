"""NotifyUsers."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    BreakGlassAccess,
    IssueServiceTokenRequest,
    NotifyUsersRequest,
    UpdateUserRequest,
    User,
)
from services.auth.mail_settings import MailConfig
from tests.auth.factory import build_sign_up
from tests.harness.client import Client, attempt
from tests.harness.mail import Mailbox
from tests.harness.services import CLIENT_ID, CLIENT_SECRET

PATIENT_ID = str(uuid4())


@pytest.fixture(scope="module")
def mail_config(mailbox: Mailbox) -> MailConfig:
    return mailbox.config()


@pytest.fixture
def service(auth: Client) -> Client:
    request = IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    return auth.with_token(auth.issue_service_token(request).access_token)


def build_request(actor: User, *users: User, request_id: str = "") -> NotifyUsersRequest:
    event = BreakGlassAccess(PATIENT_ID, actor.id, datetime(2026, 11, 27, 6, 12, tzinfo=UTC))
    return NotifyUsersRequest(request_id or str(uuid4()), [user.id for user in users], event)


def sign_up(auth: Client) -> User:
    user: User = auth.sign_up(build_sign_up())
    return user


def test_users_are_informed_of_emergency_access(auth: Client, service: Client, mailbox: Mailbox) -> None:
    actor, *team = (sign_up(auth) for _ in range(3))
    assert service.notify_users(build_request(actor, *team)) == Empty()
    for user in team:
        _, message = mailbox.wait_for(user.email, 2)  # the first mail verifies the address
        assert message["Subject"] == "Emergency access to a restricted record"
        text = message.get_content()
        for fact in (PATIENT_ID, actor.id, actor.username, "2026-11-27 at 06:12 UTC"):
            assert fact in text
    assert len(mailbox.find(actor.email)) == 1


def test_repeated_request_sends_mail_only_to_users_who_got_none(
    auth: Client, service: Client, mailbox: Mailbox
) -> None:
    actor, first, second = (sign_up(auth) for _ in range(3))
    service.notify_users(build_request(actor, first, request_id="the same"))
    service.notify_users(build_request(actor, first, second, request_id="the same"))
    service.notify_users(build_request(actor, second, request_id="another"))
    assert len(mailbox.wait_for(second.email, 3)) == 3
    assert len(mailbox.find(first.email)) == 2


def test_unknown_and_disabled_users_get_no_mail(auth: Client, admin: Client, service: Client, mailbox: Mailbox) -> None:
    actor, disabled, user = (sign_up(auth) for _ in range(3))
    admin.update_user(UpdateUserRequest(User(id=disabled.id, disabled=True)))
    service.notify_users(build_request(actor, User(id=str(uuid4())), disabled, user))
    mailbox.wait_for(user.email, 2)
    assert len(mailbox.find(disabled.email)) == 1


def test_user_must_not_call_the_method(auth: Client, admin: Client) -> None:
    user = sign_up(auth)
    assert attempt(lambda: admin.notify_users(build_request(user, user))).code is StatusCode.PERMISSION_DENIED


def test_event_is_required(auth: Client, service: Client) -> None:
    request = NotifyUsersRequest("an id", [sign_up(auth).id])
    assert [*attempt(lambda: service.notify_users(request)).violations] == ["break_glass_access"]
