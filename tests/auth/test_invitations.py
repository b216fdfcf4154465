"""CreateInvitation, ListInvitations, RevokeInvitation and AcceptInvitation."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import (
    AcceptInvitationRequest,
    CreateInvitationRequest,
    CreateInvitationResponse,
    Invitation,
    InvitationState,
    ListInvitationsRequest,
    LoginRequest,
    RevokeInvitationRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from tests.auth.factory import PASSWORD, build_create_user, build_login, build_sign_up
from tests.harness.background import Background
from tests.harness.client import Client, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth
from tests.harness.sql import Sql


@pytest.fixture(scope="module")
def auth(background: Background, database_url: str) -> Iterator[Client]:
    """A client without a token, of a server where users need an invitation to sign up."""
    with background.during(serve_auth(database_url, sign_up="invite")) as port, connect(port, "auth") as client:
        yield client


def invite(admin: Client, **fields: Any) -> CreateInvitationResponse:
    """Creates an invitation of a unique email address. The given fields replace the defaults."""
    request = CreateInvitationRequest(**({"email": f"{uuid4()}@clinic.test"} | fields))
    response: CreateInvitationResponse = admin.create_invitation(request)
    return response


def accept(auth: Client, token: str, **fields: str) -> Any:
    request = AcceptInvitationRequest(**({"token": token, "username": uuid4().hex, "password": PASSWORD} | fields))
    return auth.accept_invitation(request)


def find(admin: Client, invitation: Invitation | None) -> Invitation:
    assert invitation is not None
    listed = admin.list_invitations(ListInvitationsRequest(page_size=1000)).invitations
    found: Invitation = next(each for each in listed if each.id == invitation.id)
    return found


def test_invited_person_becomes_a_user(auth: Client, admin: Client) -> None:
    invited = invite(admin, email="Ana.Silva@Clinic.test")
    user = accept(auth, invited.token)
    assert (user.email, user.role) == ("Ana.Silva@Clinic.test", Role.USER)
    assert auth.login(LoginRequest(email="ana.silva@clinic.test", password=PASSWORD)).access_token
    accepted = find(admin, invited.invitation)
    assert (accepted.state, accepted.user_id) == (InvitationState.ACCEPTED, user.id)


def test_invitation_grants_its_role(auth: Client, admin: Client) -> None:
    assert accept(auth, invite(admin, role=Role.ADMIN).token).role == Role.ADMIN


def test_invitation_expires_after_three_days_by_default(admin: Client) -> None:
    invitation = invite(admin).invitation
    assert invitation is not None
    assert invitation.expire_time is not None
    assert timedelta(days=2, hours=23) < invitation.expire_time - datetime.now(UTC) <= timedelta(days=3)
    assert invitation.state == InvitationState.PENDING


@pytest.mark.parametrize("days", [1, 29])
def test_invitation_expires_at_the_requested_time(admin: Client, days: int) -> None:
    expire_time = datetime.now(UTC) + timedelta(days=days)
    invitation = invite(admin, expire_time=expire_time).invitation
    assert invitation is not None
    assert invitation.expire_time == expire_time


@pytest.mark.parametrize("days", [-1, 31])
def test_expiration_in_the_past_or_distant_future_is_rejected(admin: Client, days: int) -> None:
    rejected = attempt(lambda: invite(admin, expire_time=datetime.now(UTC) + timedelta(days=days)))
    assert rejected.violations == {"expire_time": "must be within the next 30 days"}


def test_sign_up_without_an_invitation_is_rejected(auth: Client) -> None:
    assert attempt(lambda: auth.sign_up(build_sign_up())).reason == "SIGN_UP_CLOSED"


def use(auth: Client, admin: Client, invited: CreateInvitationResponse, sql: Sql) -> None:
    accept(auth, invited.token)


def revoke(auth: Client, admin: Client, invited: CreateInvitationResponse, sql: Sql) -> None:
    assert invited.invitation is not None
    revoked = admin.revoke_invitation(RevokeInvitationRequest(id=invited.invitation.id))
    assert revoked.state == InvitationState.REVOKED


def expire(auth: Client, admin: Client, invited: CreateInvitationResponse, sql: Sql) -> None:
    assert invited.invitation is not None
    sql("UPDATE invitations SET expire_time = now() WHERE id = $1", invited.invitation.id)
    assert find(admin, invited.invitation).state == InvitationState.EXPIRED


def replace(auth: Client, admin: Client, invited: CreateInvitationResponse, sql: Sql) -> None:
    assert invited.invitation is not None
    invite(admin, email=invited.invitation.email.upper())


@pytest.mark.parametrize("invalidate", [use, revoke, expire, replace])
def test_invalid_invitation_is_rejected(auth: Client, admin: Client, sql: Sql, invalidate: Callable[..., None]) -> None:
    invited = invite(admin)
    invalidate(auth, admin, invited, sql)
    rejected = attempt(lambda: accept(auth, invited.token))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "INVITATION_INVALID")


def test_unknown_token_is_rejected(auth: Client) -> None:
    rejected = attempt(lambda: accept(auth, "invented"))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "INVITATION_INVALID")


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": Role.USER}], ids=["disabled", "demoted"])
def test_invitations_of_a_former_admin_are_revoked(auth: Client, admin: Client, change: dict[str, Any]) -> None:
    new = build_create_user(role=Role.ADMIN)
    user = admin.create_user(new)
    invited = invite(auth.with_token(auth.login(build_login(new)).access_token), role=Role.ADMIN)
    admin.update_user(UpdateUserRequest(User(id=user.id, **change)))
    assert attempt(lambda: accept(auth, invited.token)).reason == "INVITATION_INVALID"


def test_one_of_two_concurrent_calls_accepts_the_invitation(auth: Client, admin: Client) -> None:
    invited = invite(admin)
    users, rejected = call_concurrently(partial(accept, auth, invited.token) for _ in range(2))
    assert len(users) == len(rejected) == 1


def test_concurrent_invitations_of_an_email_leave_one_pending(admin: Client) -> None:
    email = f"{uuid4()}@clinic.test"
    invited, _ = call_concurrently(partial(invite, admin, email=email) for _ in range(8))
    states = [find(admin, each.invitation).state for each in invited]
    assert sorted(states) == [InvitationState.PENDING] + [InvitationState.REVOKED] * 7


def test_rejected_username_does_not_use_the_invitation(auth: Client, admin: Client) -> None:
    invited, taken = invite(admin), accept(auth, invite(admin).token)
    assert attempt(lambda: accept(auth, invited.token, username=taken.username)).reason == "USERNAME_ALREADY_EXISTS"
    assert accept(auth, invited.token)


def test_password_must_not_contain_the_invited_email(auth: Client, admin: Client) -> None:
    invited = invite(admin, email=f"sophronia.twelvetrees@{uuid4()}.test")
    rejected = attempt(lambda: accept(auth, invited.token, password="sophronia.twelvetrees1"))
    assert [*rejected.violations] == ["password"]


def test_email_of_a_user_cannot_be_invited(admin: Client) -> None:
    rejected = attempt(lambda: invite(admin, email=ADMIN_EMAIL.upper()))
    assert (rejected.code, rejected.reason) == (StatusCode.ALREADY_EXISTS, "EMAIL_ALREADY_EXISTS")


def test_invitations_are_paged(admin: Client) -> None:
    newest, oldest = [invite(admin).invitation for _ in range(2)][::-1]
    first = admin.list_invitations(ListInvitationsRequest(page_size=1))
    second = admin.list_invitations(ListInvitationsRequest(page_size=1, page_token=first.next_page_token))
    assert [*first.invitations, *second.invitations] == [newest, oldest]


def test_accepted_invitation_cannot_be_revoked(auth: Client, admin: Client) -> None:
    invited = invite(admin)
    accept(auth, invited.token)
    assert invited.invitation is not None
    request = RevokeInvitationRequest(id=invited.invitation.id)
    rejected = attempt(lambda: admin.revoke_invitation(request))
    assert (rejected.code, rejected.reason) == (StatusCode.FAILED_PRECONDITION, "INVITATION_ACCEPTED")


def test_revoking_twice_has_no_effect(admin: Client) -> None:
    invitation = invite(admin).invitation
    assert invitation is not None
    request = RevokeInvitationRequest(id=invitation.id)
    assert admin.revoke_invitation(request) == admin.revoke_invitation(request)


def test_unknown_invitation_is_not_found(admin: Client) -> None:
    rejected = attempt(lambda: admin.revoke_invitation(RevokeInvitationRequest(id=str(uuid4()))))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "INVITATION_NOT_FOUND")


def test_database_contains_no_token(admin: Client, sql: Sql) -> None:
    invited = invite(admin)
    assert invited.invitation is not None
    [row] = sql("SELECT invitations::text AS text FROM invitations WHERE id = $1", invited.invitation.id)
    assert invited.token not in row["text"]
    assert invited.token.encode().hex() not in row["text"]


def test_invitations_are_closed_by_the_operator(background: Background, new_database: Callable[[str], str]) -> None:
    with (
        background.during(serve_auth(new_database("auth"), sign_up="closed")) as port,
        connect(port, "auth") as closed,
    ):
        token = closed.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD)).access_token
        for call in (lambda: invite(closed.with_token(token)), lambda: accept(closed, "a token")):
            rejected = attempt(call)
            assert (rejected.code, rejected.reason) == (StatusCode.PERMISSION_DENIED, "SIGN_UP_CLOSED")
