"""The actions that change an account or fail to, with the security events of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from uuid import uuid4

from gen.google.protobuf import FieldMask
from gen.pulsetrack.auth.v1 import (
    AcceptInvitationRequest,
    ChangePasswordRequest,
    CreateInvitationRequest,
    CreatePasswordResetRequest,
    LogoutRequest,
    RefreshTokenRequest,
    RemoveUserSecondFactorRequest,
    ResetPasswordRequest,
    RevokeInvitationRequest,
    RevokeSessionsRequest,
    RevokeUserSessionsRequest,
    SecurityEventType,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.common.emails import build_key
from tests.auth.factory import PASSWORD, build_create_user
from tests.auth.second_factors import WRONG, Person
from tests.harness.client import Client, attempt
from tests.harness.sql import Sql

Type = SecurityEventType


@dataclass
class Scene:
    """The participants of an action."""

    auth: Client
    admin: Client
    sql: Sql

    @cached_property
    def person(self) -> Person:
        return Person(self.auth, self.sql)

    def invite(self) -> Any:
        return self.admin.create_invitation(CreateInvitationRequest(email=f"{uuid4()}@clinic.test"))

    def set_up_factor(self) -> None:
        self.person.enroll()
        self.person.confirm()

    def update(self, **fields: Any) -> None:
        self.admin.update_user(UpdateUserRequest(user=User(id=self.person.id, **fields)))

    def change_password(self, current: str) -> Any:
        request = ChangePasswordRequest(current_password=current, new_password=f"{PASSWORD} 2")
        return attempt(lambda: self.person.client.change_password(request))


def log_in(scene: Scene) -> str:
    scene.person.login()
    return scene.person.id


def fail_to_log_in(scene: Scene) -> str:
    attempt(partial(scene.person.login, "another password"))
    return scene.person.id


def log_in_after_too_many_failures(scene: Scene) -> str:
    failures = "INSERT INTO failed_logins VALUES (sha256($1), array_fill(now(), ARRAY[10]), now() + interval '1 h')"
    scene.sql(failures, build_key(scene.person.new.email).encode())
    assert attempt(scene.person.login).reason == "RATE_LIMITED"
    return scene.person.id


def log_in_with_a_code(scene: Scene) -> str:
    scene.set_up_factor()
    scene.person.verify(scene.person.login().challenge)
    return scene.person.id


def fail_with_a_code(scene: Scene) -> str:
    scene.set_up_factor()
    scene.person.fail(scene.person.login().challenge, 1)
    return scene.person.id


def log_out(scene: Scene) -> str:
    scene.auth.logout(LogoutRequest(refresh_token=scene.person.tokens.refresh_token))
    return scene.person.id


def revoke_own_sessions(scene: Scene) -> str:
    scene.person.client.revoke_sessions(RevokeSessionsRequest())
    return scene.person.id


def revoke_sessions_of_a_user(scene: Scene) -> str:
    scene.admin.revoke_user_sessions(RevokeUserSessionsRequest(user_id=scene.person.id))
    return scene.person.id


def reuse_a_refresh_token(scene: Scene) -> str:
    for _ in range(2):
        request = RefreshTokenRequest(refresh_token=scene.person.tokens.refresh_token)
        attempt(partial(scene.auth.refresh_token, request))
    return scene.person.id


def create_user(scene: Scene) -> str:
    return str(scene.admin.create_user(build_create_user()).id)


def change_role(scene: Scene) -> str:
    scene.update(role=Role.ADMIN)
    return scene.person.id


def disable_and_enable(scene: Scene) -> str:
    scene.update(disabled=True)
    scene.admin.update_user(UpdateUserRequest(User(id=scene.person.id), FieldMask(["disabled"])))
    return scene.person.id


def change_role_and_disable(scene: Scene) -> str:
    scene.update(role=Role.ADMIN, disabled=True)
    return scene.person.id


def update_without_a_change(scene: Scene) -> str:
    scene.update(role=Role.USER)
    return scene.person.id


def change_password(scene: Scene) -> str:
    scene.change_password(PASSWORD)
    return scene.person.id


def fail_to_change_password(scene: Scene) -> str:
    scene.change_password("another password")
    return scene.person.id


def reset_password(scene: Scene) -> str:
    token = scene.admin.create_password_reset(CreatePasswordResetRequest(user_id=scene.person.id)).token
    scene.auth.reset_password(ResetPasswordRequest(token=token, new_password=f"{PASSWORD} 2"))
    return scene.person.id


def remove_second_factor(scene: Scene) -> str:
    scene.set_up_factor()
    attempt(partial(scene.person.remove, code=WRONG))
    scene.person.remove()
    return scene.person.id


def remove_second_factor_of_a_user(scene: Scene) -> str:
    scene.set_up_factor()
    scene.admin.remove_user_second_factor(RemoveUserSecondFactorRequest(user_id=scene.person.id))
    return scene.person.id


def invite(scene: Scene) -> str:
    return str(scene.invite().invitation.id)


def revoke_an_invitation(scene: Scene) -> str:
    invitation_id = invite(scene)
    scene.admin.revoke_invitation(RevokeInvitationRequest(id=invitation_id))
    return invitation_id


def accept_an_invitation(scene: Scene) -> str:
    token = scene.invite().token
    new = AcceptInvitationRequest(token=token, username=uuid4().hex, password=PASSWORD)
    return str(scene.auth.accept_invitation(new).id)


Action = Callable[[Scene], str]
"""Performs an action and returns the id of its subject."""

BEGUN = (Type.USER_CREATED, Type.LOGIN_SUCCEEDED)
WITH_FACTOR = (*BEGUN, Type.SECOND_FACTOR_ADDED)
EXPECTED: Mapping[Action, Sequence[Type]] = {
    log_in: (*BEGUN, Type.LOGIN_SUCCEEDED),
    fail_to_log_in: (*BEGUN, Type.LOGIN_FAILED),
    log_in_after_too_many_failures: (*BEGUN, Type.LOGIN_FAILED),
    log_in_with_a_code: (*WITH_FACTOR, Type.LOGIN_CHALLENGED, Type.LOGIN_SUCCEEDED),
    fail_with_a_code: (*WITH_FACTOR, Type.LOGIN_CHALLENGED, Type.LOGIN_FAILED),
    log_out: (*BEGUN, Type.LOGGED_OUT),
    revoke_own_sessions: (*BEGUN, Type.SESSIONS_REVOKED),
    revoke_sessions_of_a_user: (*BEGUN, Type.SESSIONS_REVOKED),
    reuse_a_refresh_token: (*BEGUN, Type.REFRESH_TOKEN_REUSED),
    create_user: (Type.USER_CREATED,),
    change_role: (*BEGUN, Type.USER_ROLE_CHANGED),
    disable_and_enable: (*BEGUN, Type.USER_DISABLED, Type.USER_ENABLED),
    change_role_and_disable: (*BEGUN, Type.USER_ROLE_CHANGED, Type.USER_DISABLED),
    update_without_a_change: BEGUN,
    change_password: (*BEGUN, Type.PASSWORD_CHANGED),
    fail_to_change_password: (*BEGUN, Type.REAUTHENTICATION_FAILED),
    reset_password: (*BEGUN, Type.PASSWORD_RESET_CREATED, Type.PASSWORD_RESET),
    remove_second_factor: (*WITH_FACTOR, Type.REAUTHENTICATION_FAILED, Type.SECOND_FACTOR_REMOVED),
    remove_second_factor_of_a_user: (*WITH_FACTOR, Type.SECOND_FACTOR_REMOVED),
    invite: (Type.INVITATION_CREATED,),
    revoke_an_invitation: (Type.INVITATION_CREATED, Type.INVITATION_REVOKED),
    accept_an_invitation: (Type.INVITATION_ACCEPTED,),
}
"""The security events of each action, oldest first, with those of the creation and login of its user."""
