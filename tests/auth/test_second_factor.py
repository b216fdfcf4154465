"""Second factors: their setup, logins with them, and their removal."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from grpc import StatusCode

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    ConfirmSecondFactorRequest,
    CreatePasswordResetRequest,
    EnrollSecondFactorRequest,
    EnrollSecondFactorResponse,
    GetCurrentUserRequest,
    ListUsersRequest,
    RefreshTokenRequest,
    RemoveSecondFactorRequest,
    RemoveUserSecondFactorRequest,
    ResetPasswordRequest,
    TokenPair,
    UpdateUserRequest,
    User,
    VerifySecondFactorRequest,
)
from gen.pulsetrack.options.v1 import Role
from services.auth.one_time_codes import find_step
from services.auth.secret_cipher import SecretCipher
from tests.auth.factory import PASSWORD, build_login, build_sign_up, can_refresh
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.concurrency import call_concurrently
from tests.harness.services import serve_auth
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

RFC_SECRET = b"12345678901234567890"
"""The secret of the test vectors in RFC 6238."""
STEP = 37037036
WRONG = "no-such-code"
TABLES = ("second_factors", "recovery_codes", "login_challenges")


def compute_code(secret: bytes, step: int) -> str:
    """Returns the one-time password of a time step, as RFC 6238 defines it."""
    digest = hmac.digest(secret, step.to_bytes(8), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


class Person:
    """A user who can set up a second factor."""

    def __init__(self, auth: Client, sql: Sql) -> None:
        self._auth, self._sql = auth, sql
        self.new = build_sign_up()
        self.id: str = auth.sign_up(self.new).id
        self.tokens: TokenPair = self.login()
        self.client = auth.with_token(self.tokens.access_token)
        self.secret = b""
        self.recovery_codes: list[str] = []

    def login(self, password: str = PASSWORD) -> TokenPair:
        tokens: TokenPair = self._auth.login(build_login(self.new, password=password))
        return tokens

    def enroll(self, password: str = PASSWORD) -> EnrollSecondFactorResponse:
        enrolled: EnrollSecondFactorResponse = self.client.enroll_second_factor(
            EnrollSecondFactorRequest(current_password=password)
        )
        self.secret = base64.b32decode(enrolled.secret)
        return enrolled

    def confirm(self, code: str = "") -> None:
        """Confirms the second factor, and makes the code of the current step valid again."""
        request = ConfirmSecondFactorRequest(code=code or self.code())
        self.recovery_codes = self.client.confirm_second_factor(request).recovery_codes
        self._sql("UPDATE second_factors SET last_step = 0 WHERE user_id = $1", self.id)

    def code(self) -> str:
        """Returns the code of the current step, which stays valid for the next one."""
        return compute_code(self.secret, int(time.time()) // 30)

    def verify(self, challenge: str, code: str = "") -> TokenPair:
        request = VerifySecondFactorRequest(challenge=challenge, code=code or self.code())
        tokens: TokenPair = self._auth.verify_second_factor(request)
        return tokens

    def remove(self, password: str = PASSWORD, code: str = "") -> Any:
        request = RemoveSecondFactorRequest(current_password=password, code=code or self.code())
        return self.client.remove_second_factor(request)

    def has_factor(self) -> bool:
        user: User = self.client.get_current_user(GetCurrentUserRequest())
        return user.second_factor

    def fail(self, challenge: str, count: int) -> list[str]:
        """Sends wrong codes and returns the reasons of the rejections."""
        return [attempt(partial(self.verify, challenge, WRONG)).reason for _ in range(count)]


@pytest.fixture
def newcomer(auth: Client, sql: Sql) -> Person:
    """A user without a second factor."""
    return Person(auth, sql)


@pytest.fixture
def person(newcomer: Person) -> Person:
    """A user with a second factor."""
    newcomer.enroll()
    newcomer.confirm()
    return newcomer


def test_login_with_a_second_factor_requires_a_code(newcomer: Person, auth: Client) -> None:
    newcomer.enroll()
    assert newcomer.login().access_token  # the factor is not confirmed yet
    assert not newcomer.has_factor()
    newcomer.confirm()
    assert newcomer.has_factor()
    challenged = newcomer.login()
    assert challenged == TokenPair(challenge=challenged.challenge)
    tokens = newcomer.verify(challenged.challenge)
    assert (tokens.token_type, tokens.challenge) == ("Bearer", "")
    assert auth.with_token(tokens.access_token).get_current_user(GetCurrentUserRequest()).id == newcomer.id
    assert can_refresh(auth, tokens)


def test_uri_contains_the_secret_and_the_account(newcomer: Person) -> None:
    enrolled = newcomer.enroll()
    uri = urlsplit(enrolled.uri)
    parameters = {"secret": [enrolled.secret], "issuer": ["PulseTrack"], "period": ["30"], "digits": ["6"]}
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert newcomer.new.email.replace("@", "%40") in uri.path
    assert parameters.items() <= parse_qs(uri.query).items()
    assert len(newcomer.secret) == 20


def test_password_is_of_rfc_6238() -> None:
    assert find_step(RFC_SECRET, "287082", 59) == 1
    assert compute_code(RFC_SECRET, 1) == "287082"


@pytest.mark.parametrize("now", [30 * STEP, 30 * STEP + 29.9])
def test_clock_may_differ_by_one_step(now: float) -> None:
    found = {drift: find_step(RFC_SECRET, compute_code(RFC_SECRET, STEP + drift), now) for drift in range(-2, 3)}
    assert found == {-2: None, -1: STEP - 1, 0: STEP, 1: STEP + 1, 2: None}


def test_code_is_valid_once(person: Person) -> None:
    code = person.code()
    assert person.verify(person.login().challenge, code).access_token
    rejected = attempt(lambda: person.verify(person.login().challenge, code))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "CODE_INVALID")


def test_confirmation_uses_the_code(newcomer: Person) -> None:
    newcomer.enroll()
    code = newcomer.code()
    newcomer.client.confirm_second_factor(ConfirmSecondFactorRequest(code=code))
    assert attempt(lambda: newcomer.verify(newcomer.login().challenge, code)).reason == "CODE_INVALID"


def test_one_of_two_concurrent_uses_of_a_code_succeeds(person: Person) -> None:
    challenges, code = [person.login().challenge for _ in range(2)], person.code()
    done, rejected = call_concurrently(partial(person.verify, challenge, code) for challenge in challenges)
    assert (len(done), [each.reason for each in rejected]) == (1, ["CODE_INVALID"])


def test_one_of_two_concurrent_uses_of_a_challenge_succeeds(person: Person) -> None:
    challenge = person.login().challenge
    codes = [person.code(), person.recovery_codes[0]]
    done, rejected = call_concurrently(partial(person.verify, challenge, code) for code in codes)
    assert (len(done), [each.reason for each in rejected]) == (1, ["CHALLENGE_INVALID"])


def test_five_wrong_codes_invalidate_the_challenge(person: Person) -> None:
    challenge = person.login().challenge
    assert person.fail(challenge, 6) == [*["CODE_INVALID"] * 5, "CHALLENGE_INVALID"]
    assert attempt(lambda: person.verify(challenge)).reason == "CHALLENGE_INVALID"


def test_ten_wrong_codes_block_logins_despite_the_right_password(person: Person) -> None:
    for _ in range(2):
        person.fail(person.login().challenge, 4)
    challenge = person.login().challenge
    person.fail(challenge, 2)
    for call in (person.login, partial(person.verify, challenge), person.remove):
        rejected = attempt(call)
        assert (rejected.code, rejected.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


def test_only_ten_of_many_concurrent_guesses_are_checked(person: Person) -> None:
    challenges = [person.login().challenge for _ in range(3)]
    guesses = [partial(person.verify, challenge, WRONG) for challenge in challenges for _ in range(5)]
    done, rejected = call_concurrently(guesses)
    assert done == []
    assert sorted(each.reason for each in rejected) == ["CODE_INVALID"] * 10 + ["RATE_LIMITED"] * 5


def test_right_code_resets_the_failures(person: Person) -> None:
    for code in person.recovery_codes[:2]:
        person.fail(person.login().challenge, 4)
        person.fail(person.login().challenge, 4)
        assert person.verify(person.login().challenge, code).access_token


def test_password_change_does_not_reset_the_failures(person: Person) -> None:
    for _ in range(2):
        person.fail(person.login().challenge, 4)
    changed = f"{PASSWORD} changed"
    person.client.change_password(ChangePasswordRequest(current_password=PASSWORD, new_password=changed))
    assert person.fail(person.login(changed).challenge, 3) == ["CODE_INVALID", "CODE_INVALID", "RATE_LIMITED"]


def test_recovery_code_is_valid_once(person: Person) -> None:
    assert len(set(person.recovery_codes)) == 10
    code = person.recovery_codes[0]
    assert person.verify(person.login().challenge, code.upper().replace("-", " ")).access_token
    assert attempt(lambda: person.verify(person.login().challenge, code)).reason == "CODE_INVALID"


def test_code_of_another_user_is_rejected(auth: Client, sql: Sql, person: Person) -> None:
    other = Person(auth, sql)
    other.enroll()
    other.confirm()
    for code in (other.code(), other.recovery_codes[0]):
        assert attempt(partial(person.verify, person.login().challenge, code)).reason == "CODE_INVALID"


def use(admin: Client, person: Person, sql: Sql, challenge: str) -> None:
    person.verify(challenge, person.recovery_codes[0])


def expire(admin: Client, person: Person, sql: Sql, challenge: str) -> None:
    sql("UPDATE login_challenges SET expire_time = now() WHERE user_id = $1", person.id)


def change_password(admin: Client, person: Person, sql: Sql, challenge: str) -> None:
    request = ChangePasswordRequest(current_password=PASSWORD, new_password=f"{PASSWORD} changed")
    person.client.change_password(request)


def remove_factor(admin: Client, person: Person, sql: Sql, challenge: str) -> None:
    admin.remove_user_second_factor(RemoveUserSecondFactorRequest(user_id=person.id))


@pytest.mark.parametrize("invalidate", [use, expire, change_password, remove_factor])
def test_invalidated_challenge_is_rejected(
    admin: Client, person: Person, sql: Sql, invalidate: Callable[..., None]
) -> None:
    challenge = person.login().challenge
    invalidate(admin, person, sql, challenge)
    rejected = attempt(lambda: person.verify(challenge))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "CHALLENGE_INVALID")


def test_invented_challenge_is_rejected(person: Person) -> None:
    rejected = attempt(lambda: person.verify("invented"))
    assert (rejected.code, rejected.reason) == (StatusCode.UNAUTHENTICATED, "CHALLENGE_INVALID")


def test_challenge_is_valid_for_five_minutes(person: Person, sql: Sql) -> None:
    person.login()
    query = "SELECT extract(epoch FROM expire_time - now())::int AS seconds FROM login_challenges WHERE user_id = $1"
    assert 240 < sql(query, person.id)[0]["seconds"] <= 300


def test_disabled_user_is_rejected(admin: Client, person: Person) -> None:
    challenge = person.login().challenge
    admin.update_user(UpdateUserRequest(User(id=person.id, disabled=True)))
    for call in (partial(person.verify, challenge), person.login):
        rejected = attempt(call)
        assert (rejected.code, rejected.reason) == (StatusCode.PERMISSION_DENIED, "USER_DISABLED")


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
    cipher, user_id = SecretCipher("a passphrase of an operator"), uuid4()
    encrypted = cipher.encrypt(RFC_SECRET, user_id)
    assert cipher.decrypt(encrypted, user_id) == RFC_SECRET
    with pytest.raises(InvalidTag):
        cipher.decrypt(encrypted, uuid4())
    with pytest.raises(InvalidTag):
        SecretCipher("another passphrase").decrypt(encrypted, user_id)


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
