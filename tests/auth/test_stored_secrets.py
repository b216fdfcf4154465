"""The database contains only hashes of secrets."""

import asyncio
import hashlib
from unicodedata import normalize

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type

from gen.pulsetrack.auth.v1 import LoginRequest, RefreshTokenRequest, SignUpRequest
from services.auth.passwords import Match, Passwords
from tests.auth.factory import build_login, create_session, create_user
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql

TABLES = ("users", "refresh_tokens", "failed_logins")
EVERYTHING = " UNION ALL ".join(f"SELECT {table}::text AS row FROM {table}" for table in TABLES)


def test_password_hash_uses_the_owasp_parameters_for_argon2id(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    parameters = extract_parameters(get_password_hash(sql, new))
    assert (parameters.type, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        Type.ID,
        19 * 1024,
        2,
        1,
    )
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)
    assert PasswordHasher().verify(get_password_hash(sql, new), new.password)


@pytest.mark.parametrize(
    "weaker", [PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1), PasswordHasher(type=Type.I)]
)
def test_login_replaces_a_hash_with_outdated_parameters(auth: Client, sql: Sql, weaker: PasswordHasher) -> None:
    new = create_user(auth)
    sql("UPDATE users SET password_hash = $2 WHERE email = $1", new.email, weaker.hash(new.password))
    assert auth.login(build_login(new)).access_token
    parameters = extract_parameters(get_password_hash(sql, new))
    assert (parameters.type, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        Type.ID,
        19 * 1024,
        2,
        1,
    )
    assert auth.login(build_login(new)).access_token


def test_login_does_not_replace_a_current_hash(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    before = get_password_hash(sql, new)
    auth.login(build_login(new))
    assert get_password_hash(sql, new) == before


def test_wrong_password_does_not_replace_an_outdated_hash(auth: Client, sql: Sql) -> None:
    new = create_user(auth)
    weaker = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(new.password)
    sql("UPDATE users SET password_hash = $2 WHERE email = $1", new.email, weaker)
    with pytest.raises(Rejected, match="INVALID_CREDENTIALS"):
        auth.login(build_login(new, password="something else"))
    assert get_password_hash(sql, new) == weaker


def test_login_replaces_a_hash_of_a_password_as_typed(auth: Client, sql: Sql) -> None:
    typed, prepared = "cafe\u0301 staple 77", "caf\u00e9 staple 77"
    new = create_user(auth, password=typed)
    sql("UPDATE users SET password_hash = $2 WHERE email = $1", new.email, PasswordHasher().hash(typed))
    with pytest.raises(Rejected, match="INVALID_CREDENTIALS"):
        auth.login(build_login(new, password=prepared))  # the hash is of another spelling until its user has logged in
    assert auth.login(build_login(new, password=typed)).access_token
    assert PasswordHasher().verify(get_password_hash(sql, new), prepared)
    assert auth.login(build_login(new, password=prepared)).access_token


@pytest.mark.parametrize("password", ["staple", "caf\u00e9", "cafe\u0301"], ids=ascii)
@pytest.mark.parametrize("stored", [None, "$argon2id$"], ids=["unknown", "known"])
def test_unknown_user_costs_as_many_hashes_as_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch, stored: str | None, password: str
) -> None:
    calls: list[str] = []

    def verify(_: PasswordHasher, stored_hash: str, typed: str) -> bool:
        calls.append(typed)
        raise VerifyMismatchError

    passwords = Passwords()
    monkeypatch.setattr(PasswordHasher, "verify", verify)
    assert asyncio.run(passwords.verify(stored, password)) is Match.NONE
    assert calls == list(dict.fromkeys([normalize("NFC", password), password]))


def test_equal_passwords_have_different_hashes(auth: Client, sql: Sql) -> None:
    emails = [create_user(auth).email, create_user(auth).email]
    assert sql("SELECT count(DISTINCT password_hash) FROM users WHERE email = ANY($1)", emails)[0]["count"] == 2


def test_refresh_token_is_stored_as_a_digest(auth: Client, sql: Sql) -> None:
    first = create_session(auth)
    second = auth.refresh_token(RefreshTokenRequest(refresh_token=first.refresh_token))
    digests = [hashlib.sha256(pair.refresh_token.encode()).digest() for pair in (first, second)]
    assert sql("SELECT count(*) FROM refresh_tokens WHERE digest = ANY($1)", digests)[0]["count"] == 2


def test_tables_contain_no_secret(auth: Client, sql: Sql) -> None:
    new, session = create_user(auth), create_session(auth)
    with pytest.raises(Rejected, match="INVALID_CREDENTIALS"):
        auth.login(LoginRequest(email="typed-into-the-wrong-field", password="something else"))
    stored = "\n".join(row["row"] for row in sql(EVERYTHING))
    assert new.email in stored
    for secret in ("typed-into-the-wrong-field", new.password, session.access_token, session.refresh_token):
        assert secret not in stored
        assert secret.encode().hex() not in stored


def get_password_hash(sql: Sql, new: SignUpRequest) -> str:
    """Returns the stored password hash of a user."""
    [row] = sql("SELECT password_hash FROM users WHERE email = $1", new.email)
    stored: str = row["password_hash"]
    return stored
