"""SignUp."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal
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

Form = Literal["NFC", "NFD"]
PATH = f"/{SERVICES['auth']}/SignUp"
TAKEN = StatusCode.ALREADY_EXISTS


def test_sign_up_returns_the_stored_user(auth: Client) -> None:
    new = build_sign_up()
    user: User = auth.sign_up(new)
    session = auth.login(build_login(new))
    assert user == auth.with_token(session.access_token).get_current_user(GetCurrentUserRequest())


def test_new_user_has_the_requested_email_and_username(auth: Client) -> None:
    user: User = auth.sign_up(build_sign_up(email="Ana.Silva@Clinic.test", username="Ana"))
    assert (user.email, user.username, user.disabled) == ("Ana.Silva@Clinic.test", "Ana", False)
    assert UUID(user.id).version == 7
    assert user.create_time
    assert abs(datetime.now(UTC) - user.create_time) < timedelta(minutes=1)


def test_new_user_has_the_role_user(auth: Client) -> None:
    assert auth.sign_up(build_sign_up()).role is Role.USER


@pytest.mark.parametrize("field", range(4, 20))
def test_role_smuggled_into_the_request_is_ignored(auth: Client, field: int) -> None:
    smuggled = bytes([*_varint(field << 3), Role.ADMIN])
    response = auth.call(PATH, codec.codec_of(SignUpRequest).dumps(build_sign_up()) + smuggled)
    assert codec.codec_of(User).loads(response).role is Role.USER


def test_response_does_not_contain_the_password(auth: Client) -> None:
    new = build_sign_up()
    response = auth.call(PATH, codec.codec_of(SignUpRequest).dumps(new))
    assert new.email.encode() in response
    assert b"argon2" not in response
    assert new.password.encode() not in response


@pytest.mark.parametrize("written", [str, str.upper, str.title])
def test_email_is_unique_regardless_of_case(auth: Client, written: Callable[[str], str]) -> None:
    taken = create_user(auth).email
    with pytest.raises(Rejected) as rejected:
        auth.sign_up(build_sign_up(email=written(taken)))
    assert (rejected.value.code, rejected.value.reason) == (TAKEN, "EMAIL_ALREADY_EXISTS")


@pytest.mark.parametrize("written", [str, str.upper, partial(normalize, "NFD")])
def test_username_is_unique_regardless_of_case_and_unicode_form(auth: Client, written: Callable[[str], str]) -> None:
    taken = create_user(auth, username=f"Jos\u00e9-{uuid4().hex}").username
    with pytest.raises(Rejected) as rejected:
        auth.sign_up(build_sign_up(username=written(taken)))
    assert (rejected.value.code, rejected.value.reason) == (TAKEN, "USERNAME_ALREADY_EXISTS")


@pytest.mark.parametrize("length", [9, 128])  # 8 characters alone are easy to guess
def test_password_can_have_128_characters_of_any_script(auth: Client, length: int) -> None:
    new = create_user(auth, password=("βжאשкㅎ王あ한éñ" * 12)[:length])
    assert auth.login(build_login(new)).access_token


@pytest.mark.parametrize("password", ["", "x" * 7, "\u00e9" * 7, "x" * 129])
def test_password_outside_the_length_limits_is_rejected(auth: Client, password: str) -> None:
    assert list_violations(auth, password=password) == ["password"]


@pytest.mark.parametrize("password", ["password", "PassWord", "1234567890", "qwertyuiop", "trustno1"])
def test_common_password_is_rejected(auth: Client, password: str) -> None:
    assert list_violations(auth, password=password) == ["password"]


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ana",
        "ana@",
        "@clinic.test",
        "jos\u00e9@clinic.test",
        "ana@\u2603.test",
        "ana clinic@test",
        "a@b@c.test",
        "ana\x00@clinic.test",
        f"{'x' * 250}@c.test",
    ],
)
def test_invalid_email_is_rejected(auth: Client, email: str) -> None:
    assert list_violations(auth, email=email) == ["email"]


@pytest.mark.parametrize("username", ["", "ana silva", "ana@clinic.test", "an\na", "<b>", "x" * 51])
def test_invalid_username_is_rejected(auth: Client, username: str) -> None:
    assert list_violations(auth, username=username) == ["username"]


def test_only_one_concurrent_sign_up_with_an_email_succeeds(auth: Client) -> None:
    responses, rejections = call_concurrently([lambda: auth.sign_up(build_sign_up(email="race@clinic.test"))] * 16)
    assert len(responses) == 1
    assert {(rejection.code, rejection.reason) for rejection in rejections} == {(TAKEN, "EMAIL_ALREADY_EXISTS")}


def list_violations(auth: Client, **fields: str) -> list[str]:
    """Returns the fields that a rejected sign-up reports."""
    with pytest.raises(Rejected) as rejected:
        auth.sign_up(build_sign_up(**fields))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INVALID_ARGUMENT, "FIELDS_INVALID")
    return list(rejected.value.violations)


def _varint(number: int) -> list[int]:
    return [number] if number < 128 else [number & 127 | 128, number >> 7]


@pytest.mark.parametrize("sent", [" {} ", "\u3000{}\n"], ids=ascii)
def test_white_space_around_email_and_username_is_removed(auth: Client, sent: str) -> None:
    new = build_sign_up()
    user = auth.sign_up(build_sign_up(email=sent.format(new.email), username=sent.format(new.username)))
    assert (user.email, user.username) == (new.email, new.username)
    assert auth.login(build_login(new, email=sent.format(new.email))).access_token


def test_length_of_a_username_is_that_of_its_normalized_form(auth: Client) -> None:
    letters = "e\u0301" * 18 + uuid4().hex
    assert auth.sign_up(build_sign_up(username=letters)).username == normalize("NFC", letters)


def test_internationalized_email_equals_its_ascii_form(auth: Client) -> None:
    name = uuid4().hex
    new = create_user(auth, email=f"{name}@m\u00fcnchen.example")
    assert auth.login(build_login(new)).access_token
    for same in (
        f"{name}@xn--mnchen-3ya.example",
        f"{name}@M\u00dcNCHEN.example",
        f"{name}@mu\u0308nchen\u3002example",
    ):
        assert auth.login(build_login(new, email=same)).access_token
        with pytest.raises(Rejected, match="ALREADY_EXISTS EMAIL_ALREADY_EXISTS"):
            auth.sign_up(build_sign_up(email=same))


@pytest.mark.parametrize(("one", "other"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_password_in_another_unicode_form_is_the_same(auth: Client, one: Form, other: Form) -> None:
    password = "caf\u00e9 \u00fcber \u00d8resund 7"
    new = create_user(auth, password=normalize(one, password))
    assert auth.login(build_login(new, password=normalize(other, password))).access_token
    assert auth.login(build_login(new, password=password.replace(" ", "\u00a0"))).access_token


def test_password_is_counted_in_its_prepared_form(auth: Client) -> None:
    letters = "\u03b2\u0436\u05d0\u0161\u1100\u738b\u3042\u0e02\u00e9\u00f1"
    new = create_user(auth, password=normalize("NFD", (letters * 13)[:128]))
    assert auth.login(build_login(new)).access_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        auth.sign_up(build_sign_up(password="e\u0301" * 7))
    assert list(rejected.value.violations) == ["password"]


def test_white_space_around_a_password_is_part_of_it(auth: Client) -> None:
    new = create_user(auth, password=" correct horse 77 ")
    with pytest.raises(Rejected, match="INVALID_CREDENTIALS"):
        auth.login(build_login(new, password="correct horse 77"))
