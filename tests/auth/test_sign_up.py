"""SignUp."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from unicodedata import normalize
from uuid import UUID, uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, SignUpRequest, User
from gen.pulsetrack.options.v1 import Role
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from tests.auth.factory import build_login, build_sign_up, create_user
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently

PATH = f"/{SERVICES['auth']}/SignUp"
TAKEN = StatusCode.ALREADY_EXISTS


def test_a_new_user_is_returned_as_he_is_stored(auth: Client) -> None:
    new = build_sign_up()
    user: User = auth.sign_up(new)
    session = auth.login(build_login(new))
    assert user == auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())


def test_a_new_user_is_as_he_asked_to_be(auth: Client) -> None:
    user: User = auth.sign_up(build_sign_up(email="Ana.Silva@Clinic.test", username="Ana"))
    assert (user.email, user.username, user.disabled) == ("Ana.Silva@Clinic.test", "Ana", False)
    assert UUID(user.id).version == 7
    assert user.create_time
    assert abs(datetime.now(UTC) - user.create_time) < timedelta(minutes=1)


def test_a_new_user_has_the_role_user(auth: Client) -> None:
    assert auth.sign_up(build_sign_up()).role is Role.USER


@pytest.mark.parametrize("field", range(4, 20))
def test_a_role_that_is_slipped_into_the_request_is_ignored(auth: Client, field: int) -> None:
    smuggled = bytes([*_varint(field << 3), Role.ADMIN])
    answer = auth.call(PATH, codec.codec_of(SignUpRequest).dumps(build_sign_up()) + smuggled)
    assert codec.codec_of(User).loads(answer).role is Role.USER


def test_the_answer_holds_nothing_of_the_password(auth: Client) -> None:
    new = build_sign_up()
    answer = auth.call(PATH, codec.codec_of(SignUpRequest).dumps(new))
    assert new.email.encode() in answer
    assert b"argon2" not in answer
    assert new.password.encode() not in answer


@pytest.mark.parametrize("written", [str, str.upper, str.title])
def test_an_email_belongs_to_one_user_whatever_its_case(auth: Client, written: Callable[[str], str]) -> None:
    taken = create_user(auth).email
    with pytest.raises(Rejected) as refused:
        auth.sign_up(build_sign_up(email=written(taken)))
    assert (refused.value.code, refused.value.reason) == (TAKEN, "EMAIL_ALREADY_EXISTS")


@pytest.mark.parametrize("written", [str, str.upper, partial(normalize, "NFD")])
def test_a_username_belongs_to_one_user_whatever_its_case_and_form(auth: Client, written: Callable[[str], str]) -> None:
    taken = create_user(auth, username=f"Jos\u00e9-{uuid4().hex}").username
    with pytest.raises(Rejected) as refused:
        auth.sign_up(build_sign_up(username=written(taken)))
    assert (refused.value.code, refused.value.reason) == (TAKEN, "USERNAME_ALREADY_EXISTS")


@pytest.mark.parametrize("length", [9, 128])  # 8 characters alone are easy to guess
def test_a_password_has_up_to_128_characters_of_any_script(auth: Client, length: int) -> None:
    new = create_user(auth, password=("βжאשкㅎ王あ한éñ" * 12)[:length])
    assert auth.login(build_login(new)).access_token


@pytest.mark.parametrize("password", ["", "x" * 7, "\u00e9" * 7, "x" * 129])
def test_a_password_of_another_length_is_refused(auth: Client, password: str) -> None:
    assert violated(auth, password=password) == ["password"]


@pytest.mark.parametrize("password", ["password", "PassWord", "1234567890", "qwertyuiop", "trustno1"])
def test_a_common_password_is_refused(auth: Client, password: str) -> None:
    assert violated(auth, password=password) == ["password"]


@pytest.mark.parametrize(
    "email",
    ["", "ana", "ana@", "@clinic.test", "ana clinic@test", "a@b@c.test", "ana\x00@clinic.test", f"{'x' * 250}@c.test"],
)
def test_a_bad_email_is_refused(auth: Client, email: str) -> None:
    assert violated(auth, email=email) == ["email"]


@pytest.mark.parametrize("username", ["", "ana silva", "ana@clinic.test", "ana\n", "<b>", "x" * 51])
def test_a_bad_username_is_refused(auth: Client, username: str) -> None:
    assert violated(auth, username=username) == ["username"]


def test_of_concurrent_sign_ups_with_one_email_one_succeeds(auth: Client) -> None:
    answers, refusals = call_concurrently([lambda: auth.sign_up(build_sign_up(email="race@clinic.test"))] * 16)
    assert len(answers) == 1
    assert {(refusal.code, refusal.reason) for refusal in refusals} == {(TAKEN, "EMAIL_ALREADY_EXISTS")}


def violated(auth: Client, **fields: str) -> list[str]:
    """Returns the fields for which a sign-up is refused."""
    with pytest.raises(Rejected) as refused:
        auth.sign_up(build_sign_up(**fields))
    assert (refused.value.code, refused.value.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    return list(refused.value.violations)


def _varint(number: int) -> list[int]:
    return [number] if number < 128 else [number & 127 | 128, number >> 7]
