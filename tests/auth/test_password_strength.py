"""Password rules: guessable and breached passwords are rejected."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from services.auth.password_strength import BREACHED, GUESSABLE, BreachedPasswords, is_guessable
from services.common.settings import SettingsError
from tests.auth.factory import build_create_user, build_login, build_sign_up, create_user
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_auth

EMAIL, USERNAME = "ana.silva@example.test", "anasilva"
WEAK = [
    "clinic2026",
    "aaaaaaaa",
    " " * 8,
    EMAIL,
    EMAIL.upper(),
    "silva.ana1",
    "AnaSilva2026",
    "PulseTrack2026!",
    "Summer2026!",
    "p4ssw0rd123",
    "qwertyuiop",
    "abcdefghij",
    "password" * 16,
]
STRONG = ["correct horse battery", "tr7#kQ9!wz", "violet-Anchor-97 rain", "aaaaaaaaaaaaaaaa violet anchor rain"]


@pytest.mark.parametrize("password", WEAK)
def test_guessable_password_is_rejected(auth: Client, password: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        auth.sign_up(build_sign_up(email=EMAIL, username=USERNAME, password=password))
    assert rejected.value.violations == {"password": GUESSABLE}


@pytest.mark.parametrize("password", STRONG)
def test_strong_password_is_accepted(auth: Client, password: str) -> None:
    assert auth.login(build_login(create_user(auth, password=password))).access_token


def test_admin_cannot_set_a_guessable_password(admin: Client) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
        admin.create_user(build_create_user(password="clinic2026"))
    assert rejected.value.violations == {"password": GUESSABLE}


def test_guessable_password_of_the_first_admin_prevents_the_start(
    background: Background, new_database: Callable[[str], str]
) -> None:
    with (
        pytest.raises(SettingsError, match=r"^PULSETRACK_ADMIN_PASSWORD is too easy to guess"),
        background.during(serve_auth(new_database("auth"), admin_password="clinic2026")),
    ):
        pass


def test_breached_password_is_rejected(
    background: Background, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    path = write_list(tmp_path, ["correct horse battery"])
    running = serve_auth(new_database("auth"), breached=str(path))
    with background.during(running) as port, connect(port, "auth") as auth:
        with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
            auth.sign_up(build_sign_up(password="correct horse battery"))
        assert rejected.value.violations == {"password": BREACHED}
        assert auth.sign_up(build_sign_up(password="violet anchor rain")).id


@pytest.mark.parametrize("ending", ["", ":17", "\r"])
@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_exactly_the_listed_hashes_are_found(tmp_path: Path, count: int, ending: str) -> None:
    listed = [f"listed {number}" for number in range(count)]
    breached = BreachedPasswords(write_list(tmp_path, listed, ending))
    assert all(password in breached for password in listed)
    assert not any(f"another {number}" in breached for number in range(200))


@pytest.mark.parametrize("content", [None, "", "password\n"])
def test_invalid_list_of_hashes_is_reported(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "list"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match="PULSETRACK_BREACHED_PASSWORDS"):
        BreachedPasswords(path)


@pytest.mark.parametrize("symbols", ["4@8({[<369&#!1/|0$5+7%2", "$5+7|1!0", "aA1"])
def test_long_password_is_checked_in_short_pieces(monkeypatch: pytest.MonkeyPatch, symbols: str) -> None:
    checked: list[str] = []

    def check(piece: str, **_: object) -> dict[str, int]:
        checked.append(piece)
        return {"score": 0}

    monkeypatch.setattr("zxcvbn.zxcvbn", check)
    random = Random(0)
    assert is_guessable("".join(random.choice(symbols) for _ in range(128)), [EMAIL])
    assert [len(piece) for piece in checked] == [16, 16]


def write_list(folder: Path, passwords: list[str], ending: str = "") -> Path:
    """Writes a list of breached passwords, with an ending after each hash."""
    hashes = sorted(hashlib.sha1(password.encode()).hexdigest().upper() for password in passwords)
    path = folder / "breached"
    path.write_bytes("".join(f"{each}{ending}\n" for each in hashes).encode())
    return path
