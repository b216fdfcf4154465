"""VerifyEmail and RequestEmailVerification, and logins that require a verified address."""

from collections.abc import Callable, Iterator

import pytest
from grpc import StatusCode

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    AcceptInvitationRequest,
    CreateInvitationRequest,
    GetCurrentUserRequest,
    ListSecurityEventsRequest,
    LoginRequest,
    RefreshTokenRequest,
    RequestEmailVerificationRequest,
    SecurityEventType,
    User,
    VerifyEmailRequest,
)
from services.auth.mail_settings import MailConfig
from tests.auth.factory import PASSWORD, build_create_user, build_login, build_sign_up
from tests.auth.mail import VERIFICATION, Correspondent, read_token, set_disabled
from tests.harness.background import Background
from tests.harness.client import Client, attempt
from tests.harness.mail import Mailbox
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth
from tests.harness.sql import Sql


@pytest.fixture(scope="module")
def mail_config(mailbox: Mailbox) -> MailConfig:
    return mailbox.config(public_url="https://clinic.test/app/")


@pytest.fixture(scope="module")
def grpc_server(background: Background, database_url: str, mail_config: MailConfig) -> Iterator[int]:
    """A server that requires verified addresses."""
    with background.during(serve_auth(database_url, mail=mail_config, requires_verified_email=True)) as port:
        yield port


@pytest.fixture
def ana(auth: Client, mailbox: Mailbox, sql: Sql) -> Correspondent:
    return Correspondent(auth, mailbox, sql)


def verify(auth: Client, token: str) -> Empty:
    response: Empty = auth.verify_email(VerifyEmailRequest(token=token))
    return response


def test_unverified_user_can_log_in_only_after_verification(auth: Client, ana: Correspondent) -> None:
    assert ana.log_in() == "EMAIL_NOT_VERIFIED"
    [message] = ana.receive(VERIFICATION)
    assert "\nhttps://clinic.test/app/verify-email#token=" in message.get_content()
    assert verify(auth, read_token(message)) == Empty()
    session = auth.login(build_login(ana.new))
    assert auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest()).email_verified
    ana.receive("Your email address was verified")


def test_verification_is_a_security_event(auth: Client, admin: Client, ana: Correspondent) -> None:
    verify(auth, read_token(ana.receive(VERIFICATION)[0]))
    request = ListSecurityEventsRequest(subject_id=ana.id, type=SecurityEventType.EMAIL_VERIFIED)
    [event] = admin.list_security_events(request).security_events
    assert event.actor_id == ana.id


def test_only_the_right_password_reveals_that_an_address_is_not_verified(ana: Correspondent) -> None:
    assert ana.log_in("something else") == "INVALID_CREDENTIALS"
    for _ in range(9):
        ana.log_in("something else")
    assert ana.log_in() == "RATE_LIMITED"


def test_session_of_an_unverified_user_is_not_refreshed(auth: Client, ana: Correspondent, sql: Sql) -> None:
    verify(auth, read_token(ana.receive(VERIFICATION)[0]))
    session = auth.login(build_login(ana.new))
    sql("UPDATE users SET email_verified = false WHERE id = $1", ana.id)  # as before the setting was changed
    refresh = RefreshTokenRequest(refresh_token=session.refresh_token)
    assert attempt(lambda: auth.refresh_token(refresh)).reason == "EMAIL_NOT_VERIFIED"
    sql("UPDATE users SET email_verified = true WHERE id = $1", ana.id)
    assert auth.refresh_token(refresh).access_token


def test_first_admin_needs_no_verification(auth: Client) -> None:
    assert auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token


def test_first_admin_of_an_earlier_version_needs_no_verification(
    background: Background, database_url: str, auth: Client, sql: Sql
) -> None:
    sql("UPDATE users SET email_verified = false WHERE role = 'ADMIN'")
    with background.during(serve_auth(database_url)):
        assert auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token


def test_user_whom_an_admin_creates_verifies_the_address(auth: Client, admin: Client, mailbox: Mailbox) -> None:
    user: User = admin.create_user(build_create_user())
    assert not user.email_verified
    [message] = mailbox.wait_for(user.email)
    assert verify(auth, read_token(message)) == Empty()


def use(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    token = read_token(ana.receive(VERIFICATION)[0])
    verify(auth, token)
    return token


def replace(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    ana.request_verification()
    first, _ = ana.receive(VERIFICATION, 2)
    return read_token(first)


def expire(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    sql("UPDATE email_verifications SET expire_time = now() WHERE user_id = $1", ana.id)
    return read_token(ana.receive(VERIFICATION)[0])


def disable(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    set_disabled(admin, ana.id)
    return read_token(ana.receive(VERIFICATION)[0])


def invent(auth: Client, admin: Client, ana: Correspondent, sql: Sql) -> str:
    return "invented"


@pytest.mark.parametrize("invalidate", [use, replace, expire, disable, invent])
def test_invalid_token_is_rejected(
    auth: Client, admin: Client, ana: Correspondent, sql: Sql, invalidate: Callable[..., str]
) -> None:
    token = invalidate(auth, admin, ana, sql)
    rejected = attempt(lambda: verify(auth, token))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "VERIFICATION_TOKEN_INVALID")


def test_another_mail_can_be_requested(auth: Client, ana: Correspondent) -> None:
    ana.request_verification()
    assert verify(auth, read_token(ana.receive(VERIFICATION, 2)[-1])) == Empty()
    assert ana.log_in() == "OK"


def test_verified_user_gets_no_further_mail(auth: Client, ana: Correspondent) -> None:
    verify(auth, read_token(ana.receive(VERIFICATION)[0]))
    ana.request_verification()
    assert ana.count(VERIFICATION) == 1


def test_known_and_unknown_addresses_get_the_same_response(auth: Client, ana: Correspondent) -> None:
    for email in (ana.new.email, build_sign_up().email):
        assert auth.request_email_verification(RequestEmailVerificationRequest(email=email)) == Empty()


def test_mail_does_not_contain_the_username(auth: Client, mailbox: Mailbox) -> None:
    new = build_sign_up(username="evil.example")
    auth.sign_up(new)
    [message] = mailbox.wait_for(new.email)
    assert "evil" not in message.get_content()


@pytest.mark.parametrize(("is_mailed", "outcome"), [(True, "OK"), (False, "EMAIL_NOT_VERIFIED")], ids=["mail", "admin"])
def test_only_the_mailed_token_of_an_invitation_verifies_the_address(
    auth: Client, admin: Client, mailbox: Mailbox, *, is_mailed: bool, outcome: str
) -> None:
    new = build_sign_up()
    created = admin.create_invitation(CreateInvitationRequest(email=new.email))
    [message] = mailbox.wait_for(new.email)
    assert message["Subject"] == "You are invited to PulseTrack"
    mailed = read_token(message)
    assert mailed != created.token
    token = mailed if is_mailed else created.token
    user: User = auth.accept_invitation(AcceptInvitationRequest(token, new.username, PASSWORD))
    assert user.email_verified == is_mailed
    login = attempt(lambda: auth.login(build_login(new)))
    assert getattr(login, "reason", "OK") == outcome
    again = AcceptInvitationRequest(mailed, build_sign_up().username, PASSWORD)
    assert attempt(lambda: auth.accept_invitation(again)).reason == "INVITATION_INVALID"
