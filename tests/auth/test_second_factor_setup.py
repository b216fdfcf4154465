"""Setup and removal of second factors."""

import base64
from collections.abc import Iterator
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from grpc import StatusCode

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    CreatePasswordResetRequest,
    GetCurrentUserRequest,
    ListUsersRequest,
    RefreshTokenRequest,
    RemoveUserSecondFactorRequest,
    ResetPasswordRequest,
    UpdateUserRequest,
    User,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.secret_cipher import SecretCipher
from tests.auth.factory import PASSWORD, can_refresh
from tests.auth.second_factors import RFC_SECRET, TABLES, WRONG, Person
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually


def test_enrollment_requires_the_password(newcomer: Person) -> None:
    rejected = attempt(lambda: newcomer.enroll("something else"))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert attempt(lambda: newcomer.confirm("000000")).reason == "SECOND_FACTOR_NOT_FOUND"


def test_second_enrollment_replaces_the_secret(newcomer: Person) -> None:
    newcomer.enroll()
    first = newcomer.code()
    newcomer.enroll()
    assert attempt(lambda: newcomer.confirm(first)).reason == "CODE_INVALID"
    newcomer.confirm()
    assert newcomer.has_factor()


def test_confirmed_factor_cannot_be_replaced(person: Person) -> None:
    for call in (person.enroll, person.confirm):
        rejected = attempt(call)
        assert (rejected.code, rejected.reason) == (StatusCode.ALREADY_EXISTS, "SECOND_FACTOR_ALREADY_EXISTS")


def test_confirmation_ends_the_other_sessions(auth: Client, newcomer: Person) -> None:
    other = newcomer.login()
    newcomer.enroll()
    newcomer.confirm()
    assert [can_refresh(auth, tokens) for tokens in (newcomer.tokens, other)] == [True, False]


def test_user_removes_the_factor_with_password_and_code(person: Person) -> None:
    assert attempt(lambda: person.remove(password="something else")).reason == "INVALID_CREDENTIALS"
    assert attempt(lambda: person.remove(code=WRONG)).reason == "CODE_INVALID"
    assert person.has_factor()
    assert person.remove() == Empty()
    assert not person.has_factor()
    assert person.login().access_token
    assert attempt(person.remove).reason == "SECOND_FACTOR_NOT_FOUND"


def test_factor_can_be_set_up_again_after_removal(person: Person) -> None:
    before = person.recovery_codes
    person.remove(code=before[0])
    person.enroll()
    person.confirm()
    assert attempt(lambda: person.verify(person.login().challenge, before[1])).reason == "CODE_INVALID"
    assert person.verify(person.login().challenge, person.recovery_codes[1]).access_token


def test_admin_removes_the_factor_of_a_user(auth: Client, admin: Client, person: Person, sql: Sql) -> None:
    request = RemoveUserSecondFactorRequest(user_id=person.id)
    assert admin.remove_user_second_factor(request) == Empty()
    assert not can_refresh(auth, person.tokens)
    assert person.login().access_token
    rejected = attempt(lambda: admin.remove_user_second_factor(request))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "SECOND_FACTOR_NOT_FOUND")
    admin_id = admin.get_current_user(GetCurrentUserRequest()).id
    recorded = "SELECT actor_id FROM access_events WHERE $1 = ANY(subject_ids) AND method LIKE '%/RemoveUser%'"
    assert sql(recorded, person.id)[0]["actor_id"] == admin_id


def test_factor_of_an_unknown_user_is_not_found(admin: Client) -> None:
    rejected = attempt(lambda: admin.remove_user_second_factor(RemoveUserSecondFactorRequest(user_id=str(uuid4()))))
    assert (rejected.code, rejected.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")


def test_password_reset_does_not_remove_the_factor(auth: Client, admin: Client, person: Person) -> None:
    token = admin.create_password_reset(CreatePasswordResetRequest(user_id=person.id)).token
    auth.reset_password(ResetPasswordRequest(token=token, new_password=f"{PASSWORD} reset"))
    assert person.verify(person.login(f"{PASSWORD} reset").challenge).access_token


def test_database_contains_no_secret(person: Person, sql: Sql) -> None:
    challenge = person.login().challenge
    every = " UNION ALL ".join(f"SELECT {table}::text AS row FROM {table} WHERE user_id = $1" for table in TABLES)
    stored = "\n".join(row["row"] for row in sql(every, person.id))
    assert len(stored.splitlines()) == 12
    recovery = [form.encode() for code in person.recovery_codes for form in (code, code.replace("-", ""))]
    for secret in (person.secret, base64.b32encode(person.secret), challenge.encode(), *recovery):
        assert secret.hex() not in stored
        assert secret.decode(errors="replace") not in stored


def test_encrypted_secret_fits_no_other_user() -> None:
    cipher, user_id = SecretCipher("a passphrase of an operator", purpose="tests"), uuid4()
    encrypted = cipher.encrypt(RFC_SECRET, user_id)
    assert cipher.decrypt(encrypted, user_id) == RFC_SECRET
    with pytest.raises(InvalidTag):
        cipher.decrypt(encrypted, uuid4())
    with pytest.raises(InvalidTag):
        SecretCipher("another passphrase", purpose="tests").decrypt(encrypted, user_id)


@pytest.fixture
def strict(background: Background, database_url: str) -> Iterator[Client]:
    """A client of a server that requires a second factor of admins."""
    server = serve_auth(database_url, admins_need_second_factor=True, reload_seconds=0.2)
    with background.during(server) as port, connect(port, "auth") as client:
        yield client


def can_list_users(client: Client) -> bool:
    response = attempt(lambda: client.list_users(ListUsersRequest(page_size=1)))
    if isinstance(response, Rejected):
        assert response.reason in {"ROLE_REQUIRED", "TOKEN_INVALID"}, response
    return not isinstance(response, Rejected)


def test_admin_without_a_required_factor_has_the_role_user(strict: Client, admin: Client, sql: Sql) -> None:
    person = Person(strict, sql)
    admin.update_user(UpdateUserRequest(User(id=person.id, role=Role.ADMIN)))
    weak = strict.with_token(person.login().access_token)
    assert not can_list_users(weak)
    assert weak.get_current_user(GetCurrentUserRequest()).role is Role.ADMIN
    person.enroll()
    person.confirm()
    refreshed = strict.refresh_token(RefreshTokenRequest(refresh_token=person.tokens.refresh_token))
    person.client = strict.with_token(refreshed.access_token)
    assert can_list_users(person.client)
    person.remove()
    eventually(lambda: not can_list_users(person.client))
    again = strict.refresh_token(RefreshTokenRequest(refresh_token=refreshed.refresh_token))
    assert not can_list_users(strict.with_token(again.access_token))
