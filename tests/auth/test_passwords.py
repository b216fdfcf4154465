"""ChangePassword, CreatePasswordReset and ResetPassword."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.google.protobuf import Empty, FieldMask
from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    CreatePasswordResetRequest,
    ResetPasswordRequest,
    TokenPair,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.errors import TooManyFailedLogins
from services.auth.login_limits import count_failure
from services.auth.models import AUDIT
from services.auth.passwords import Match, Passwords
from services.auth.reauthentication import verify_password
from services.common.audit.events import Access, AccessLog, current_access
from services.common.context import Caller
from services.common.emails import build_key
from services.common.postgres.database import Database
from tests.auth.factory import PASSWORD, build_create_user, build_login, build_sign_up, can_refresh
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

NEW = "another staple of horses"


class Person:
    """A user with two sessions."""

    def __init__(self, auth: Client) -> None:
        self._auth = auth
        self.new = build_sign_up()
        self.id: str = auth.sign_up(self.new).id
        self.tokens: list[TokenPair] = [self.login() for _ in range(2)]
        self.client = auth.with_token(self.tokens[0].access_token)

    def login(self, password: str = PASSWORD) -> Any:
        return self._auth.login(build_login(self.new, password=password))

    def can_log_in(self, password: str) -> bool:
        return not isinstance(attempt(lambda: self.login(password)), Rejected)

    def change(self, current: str = PASSWORD, new: str = NEW) -> Any:
        request = ChangePasswordRequest(current_password=current, new_password=new)
        return self.client.change_password(request)


@pytest.fixture
def person(auth: Client) -> Person:
    return Person(auth)


def create_token(admin: Client, person: Person) -> str:
    token: str = admin.create_password_reset(CreatePasswordResetRequest(user_id=person.id)).token
    return token


def reset(auth: Client, token: str, new: str = NEW) -> Any:
    return auth.reset_password(ResetPasswordRequest(token=token, new_password=new))


def test_only_the_new_password_is_valid_after_a_change(person: Person) -> None:
    assert person.change() == Empty()
    assert (person.can_log_in(PASSWORD), person.can_log_in(NEW)) == (False, True)


def test_change_ends_the_other_sessions(auth: Client, person: Person) -> None:
    person.change()
    assert [can_refresh(auth, tokens) for tokens in person.tokens] == [True, False]


def test_wrong_current_password_is_rejected(person: Person) -> None:
    rejected = attempt(lambda: person.change(current="something else"))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert person.can_log_in(PASSWORD)


def test_wrong_current_passwords_count_as_failed_logins(person: Person) -> None:
    for _ in range(10):
        attempt(lambda: person.change(current="something else"))
    rejected = attempt(person.change)
    assert (rejected.code, rejected.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert attempt(person.login).reason == "RATE_LIMITED"


@pytest.mark.parametrize("password", ["short", "password123", PASSWORD], ids=["short", "guessable", "unchanged"])
def test_unsuitable_new_password_is_rejected(person: Person, password: str) -> None:
    rejected = attempt(lambda: person.change(new=password))
    assert (rejected.code, [*rejected.violations]) == (StatusCode.INVALID_ARGUMENT, ["new_password"])
    assert person.can_log_in(PASSWORD)


def test_new_password_must_not_contain_the_own_name(auth: Client) -> None:
    new = build_sign_up(username="Sophronia.Twelvetrees")
    auth.sign_up(new)
    client = auth.with_token(auth.login(build_login(new)).access_token)
    request = ChangePasswordRequest(current_password=PASSWORD, new_password="sophronia.twelvetrees1")
    assert [*attempt(lambda: client.change_password(request)).violations] == ["new_password"]


def test_one_of_two_concurrent_changes_succeeds(person: Person) -> None:
    passwords = [f"{NEW} {number}" for number in range(2)]
    done, rejected = call_concurrently(partial(person.change, new=new) for new in passwords)
    assert (len(done), [each.reason for each in rejected]) == (1, ["INVALID_CREDENTIALS"])
    assert sorted(person.can_log_in(new) for new in passwords) == [False, True]


def test_login_with_the_old_password_during_a_change_leaves_no_session(person: Person, sql: Sql) -> None:
    change = "UPDATE users SET password_hash = 'x' WHERE id = $1"
    with ThreadPoolExecutor() as callers:
        with sql.hold_locks(change, person.id, commit=True):
            logging_in = callers.submit(attempt, person.login)
            eventually(lambda: sql.count_waiting() == 1)
        assert logging_in.result().reason == "INVALID_CREDENTIALS"
    assert len(sql("SELECT FROM sessions WHERE user_id = $1", person.id)) == len(person.tokens)


def test_reset_sets_the_password_and_ends_all_sessions(auth: Client, admin: Client, person: Person) -> None:
    assert reset(auth, create_token(admin, person)) == Empty()
    assert (person.can_log_in(PASSWORD), person.can_log_in(NEW)) == (False, True)
    assert not any(can_refresh(auth, tokens) for tokens in person.tokens)


def test_reset_token_is_valid_for_an_hour(admin: Client, person: Person) -> None:
    response = admin.create_password_reset(CreatePasswordResetRequest(user_id=person.id))
    remaining = response.expire_time - datetime.now(UTC)
    assert timedelta(minutes=59) < remaining <= timedelta(hours=1)


def test_reset_unblocks_logins_after_too_many_failures(auth: Client, admin: Client, person: Person) -> None:
    for _ in range(10):
        attempt(lambda: person.login("something else"))
    assert attempt(person.login).reason == "RATE_LIMITED"
    reset(auth, create_token(admin, person))
    assert person.can_log_in(NEW)


def use(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    token = create_token(admin, person)
    reset(auth, token, f"{NEW} first")
    return token


def replace(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    token = create_token(admin, person)
    create_token(admin, person)
    return token


def expire(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    token = create_token(admin, person)
    sql("UPDATE password_resets SET expire_time = now() WHERE user_id = $1", person.id)
    return token


def change_password(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    token = create_token(admin, person)
    person.change(new=f"{NEW} first")
    return token


def disable(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    token = create_token(admin, person)
    admin.update_user(UpdateUserRequest(User(id=person.id, disabled=True)))
    return token


def invent(auth: Client, admin: Client, person: Person, sql: Sql) -> str:
    return "invented"


@pytest.mark.parametrize("invalidate", [use, replace, expire, change_password, disable, invent])
def test_invalid_reset_token_is_rejected(
    auth: Client, admin: Client, person: Person, sql: Sql, invalidate: Callable[..., str]
) -> None:
    token = invalidate(auth, admin, person, sql)
    rejected = attempt(lambda: reset(auth, token))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "RESET_TOKEN_INVALID")
    assert not person.can_log_in(NEW)


@pytest.mark.parametrize("change", [{"disabled": True}, {"role": Role.USER}], ids=["disabled", "demoted"])
def test_reset_tokens_that_a_former_admin_created_are_invalid(
    auth: Client, admin: Client, person: Person, change: dict[str, Any]
) -> None:
    new = build_create_user(role=Role.ADMIN)
    former = admin.create_user(new)
    token = create_token(auth.with_token(auth.login(build_login(new)).access_token), person)
    admin.update_user(UpdateUserRequest(User(id=former.id, **change)))
    assert attempt(lambda: reset(auth, token)).reason == "RESET_TOKEN_INVALID"


def test_enabled_user_needs_a_new_reset_token(auth: Client, admin: Client, person: Person) -> None:
    token = create_token(admin, person)
    for disabled in (True, False):
        admin.update_user(UpdateUserRequest(User(id=person.id, disabled=disabled), FieldMask(["disabled"])))
    assert attempt(lambda: reset(auth, token)).reason == "RESET_TOKEN_INVALID"


def test_reset_and_change_at_the_same_time_do_not_deadlock(
    auth: Client, admin: Client, person: Person, sql: Sql
) -> None:
    token = create_token(admin, person)
    with ThreadPoolExecutor() as callers:
        with sql.hold_locks("SELECT FROM users WHERE id = $1 FOR UPDATE", person.id):
            changing = callers.submit(attempt, person.change)
            eventually(lambda: sql.count_waiting() == 1)
            resetting = callers.submit(attempt, lambda: reset(auth, token, f"{NEW} 2"))
            eventually(lambda: sql.count_waiting() == 2)
        assert changing.result() == Empty()
        assert resetting.result().reason == "RESET_TOKEN_INVALID"


def test_right_password_is_not_revealed_after_concurrent_guesses(
    background: Background, database_url: str, person: Person
) -> None:
    class SlowPasswords(Passwords):
        """Accepts any password, after ten wrong ones have been counted."""

        def __init__(self, db: Database) -> None:
            self._db = db

        async def verify(self, stored_hash: str | None, password: str) -> Match:
            for _ in range(10):
                await count_failure(self._db, build_key(person.new.email))
            return Match.CURRENT

    async def verify() -> None:
        async with Database(database_url, connections=2) as db:
            current_access.set(Access(AccessLog(db, AUDIT), "ChangePassword", ""))
            await verify_password(db, SlowPasswords(db), Caller(person.id, "USER", expires=0), PASSWORD)

    with pytest.raises(TooManyFailedLogins):
        background.run(verify())


def test_one_of_two_concurrent_resets_succeeds(auth: Client, admin: Client, person: Person) -> None:
    token, passwords = create_token(admin, person), [f"{NEW} {number}" for number in range(2)]
    done, rejected = call_concurrently(partial(reset, auth, token, new) for new in passwords)
    assert (len(done), [each.reason for each in rejected]) == (1, ["RESET_TOKEN_INVALID"])
    assert sorted(person.can_log_in(new) for new in passwords) == [False, True]


def test_weak_password_does_not_use_the_reset_token(auth: Client, admin: Client, person: Person) -> None:
    token = create_token(admin, person)
    assert [*attempt(lambda: reset(auth, token, person.new.username)).violations] == ["new_password"]
    assert reset(auth, token) == Empty()


def test_database_contains_no_reset_token(admin: Client, person: Person, sql: Sql) -> None:
    token = create_token(admin, person)
    [row] = sql("SELECT password_resets::text AS text FROM password_resets WHERE user_id = $1", person.id)
    assert token not in row["text"]
    assert token.encode().hex() not in row["text"]


def test_reset_of_an_unknown_user_is_not_found(admin: Client) -> None:
    request = CreatePasswordResetRequest(user_id=str(uuid4()))
    rejected = attempt(lambda: admin.create_password_reset(request))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")


def test_reset_of_a_disabled_user_is_rejected(admin: Client, person: Person) -> None:
    admin.update_user(UpdateUserRequest(User(id=person.id, disabled=True)))
    rejected = attempt(lambda: create_token(admin, person))
    assert (rejected.code, rejected.reason) == (StatusCode.FAILED_PRECONDITION, "USER_INACTIVE")
