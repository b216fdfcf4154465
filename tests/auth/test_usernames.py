"""Deceptive usernames: look-alikes, invisible characters and mixed scripts."""

import secrets
from collections.abc import Callable

import pytest

from services.auth.usernames import INVISIBLE, MIXED, build_skeleton
from services.common.postgres.migrate import migrate
from tests.auth.factory import build_sign_up
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tools.local.postgres import Postgres

LOOK_ALIKES = {
    "Cyrillic a": lambda name: name.replace("a", "\u0430", 1),
    "all Cyrillic": lambda name: name.replace("a", "\u0430").replace("o", "\u043e").replace("c", "\u0441"),
    "Greek omicron": lambda name: name.replace("o", "\u03bf"),
    "fullwidth": lambda name: name.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)}),
    "capitals": str.upper,
}
USERS = (
    "INSERT INTO users (id, email, email_key, username, username_key, password_hash, role, create_time)"
    " SELECT gen_random_uuid(), number::text, number::text, name, name, '', 'USER', now() + number * interval '1 s'"
    " FROM unnest($1::text[]) WITH ORDINALITY AS old (name, number)"
)


@pytest.mark.parametrize("disguise", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_look_alike_of_an_existing_username_is_rejected(auth: Client, disguise: Callable[[str], str]) -> None:
    name = f"aoc{secrets.token_hex(8)}".replace("b", "0").replace("d", "1").replace("f", "2").replace("e", "3")
    auth.sign_up(build_sign_up(username=name))
    with pytest.raises(Rejected, match="ALREADY_EXISTS USERNAME_ALREADY_EXISTS"):
        auth.sign_up(build_sign_up(username=disguise(name)))


@pytest.mark.parametrize("same", ["\u0430na", "\uff41\uff4e\uff41", "ANA", "an\u0430", "\u03b1na"], ids=ascii)
def test_ana_is_one_username_in_all_spellings(auth: Client, same: str) -> None:
    attempt(lambda: auth.sign_up(build_sign_up(username="ana")))
    with pytest.raises(Rejected, match="ALREADY_EXISTS USERNAME_ALREADY_EXISTS"):
        auth.sign_up(build_sign_up(username=same))


@pytest.mark.parametrize(
    ("accented", "disguised"),
    [("co\u00eb", "\u0441\u043e\u0451"), ("a\u00ef", "\u0430\u0457"), ("\u00f2", "\u03bf\u0300"), ("\u00f3", "\u03cc")],
    ids=ascii,
)
def test_accented_look_alike_is_rejected(auth: Client, accented: str, disguised: str) -> None:
    number = str(secrets.randbits(64))
    auth.sign_up(build_sign_up(username=accented + number))
    with pytest.raises(Rejected, match="ALREADY_EXISTS USERNAME_ALREADY_EXISTS"):
        auth.sign_up(build_sign_up(username=disguised + number))


@pytest.mark.parametrize(
    ("username", "wrong"),
    [
        ("\u3164", INVISIBLE),
        ("an\ufe0fa", INVISIBLE),
        ("a\u034fna", INVISIBLE),
        ("ana\u0448", MIXED),
        ("\u13aana", MIXED),
    ],
    ids=ascii,
)
def test_deceptive_username_is_rejected(auth: Client, username: str, wrong: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        auth.sign_up(build_sign_up(username=username))
    assert rejected.value.violations == {"username": wrong}


@pytest.mark.parametrize(
    "username",
    [
        "\u0430\u043d\u043d\u0430",
        "Jos\u00e9.Silva-2",
        "\u738b\u5c0f\u660e\u3042\u30ab",
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "\u03b1\u03bd\u03bd\u03b1_7",
    ],
    ids=ascii,
)
def test_username_in_a_single_script_is_accepted(auth: Client, username: str) -> None:
    assert auth.sign_up(build_sign_up(username=username)).username == username


def test_migration_adds_skeletons_and_retains_look_alikes(background: Background, postgres: Postgres) -> None:
    name = f"auth_{secrets.token_hex(4)}"
    url = postgres.url(name)
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("auth", url, to="0005")
    sql = Sql(background, url)
    sql(USERS, ["ana", "\u0430na", "\u0430\u043d\u043d\u0430"])
    migrate("auth", url)
    rows = sql("SELECT username_skeleton FROM users ORDER BY create_time")
    assert [row["username_skeleton"] for row in rows] == ["ana", None, build_skeleton("\u0430\u043d\u043d\u0430")]
