"""Logins with a second factor."""

from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    ConfirmSecondFactorRequest,
    GetCurrentUserRequest,
    RemoveUserSecondFactorRequest,
    TokenPair,
    UpdateUserRequest,
    User,
)
from services.auth.one_time_codes import find_step
from tests.auth.factory import PASSWORD, can_refresh
from tests.auth.second_factors import RFC_SECRET, STEP, WRONG, Person, compute_code
from tests.harness.client import Client, attempt
from tests.harness.concurrency import call_concurrently
from tests.harness.sql import Sql


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
