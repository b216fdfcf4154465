"""What the database holds of secrets: nothing that whoever reads it could use."""

import hashlib

from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from gen.pulsetrack.auth.v1 import RefreshTokenRequest
from tests.auth.factory import a_session, a_user
from tests.harness.client import Client
from tests.harness.sql import Sql

EVERYTHING = "SELECT users::text AS row FROM users UNION ALL SELECT refresh_tokens::text FROM refresh_tokens"


def test_a_password_is_an_argon2id_hash_with_the_parameters_of_owasp(auth: Client, sql: Sql) -> None:
    new = a_user(auth)
    [row] = sql("SELECT password_hash FROM users WHERE email = $1", new.email)
    said = extract_parameters(row["password_hash"])
    assert (said.type, said.memory_cost, said.time_cost, said.parallelism) == (Type.ID, 19 * 1024, 2, 1)
    assert (said.salt_len, said.hash_len) == (16, 32)
    assert PasswordHasher().verify(row["password_hash"], new.password)


def test_equal_passwords_have_different_hashes(auth: Client, sql: Sql) -> None:
    emails = [a_user(auth).email, a_user(auth).email]
    assert sql("SELECT count(DISTINCT password_hash) FROM users WHERE email = ANY($1)", emails)[0]["count"] == 2


def test_a_refresh_token_is_kept_as_its_digest(auth: Client, sql: Sql) -> None:
    first = a_session(auth)
    second = auth.refresh_token(RefreshTokenRequest(refresh_token=first.refresh_token))
    digests = [hashlib.sha256(pair.refresh_token.encode()).digest() for pair in (first, second)]
    assert sql("SELECT count(*) FROM refresh_tokens WHERE digest = ANY($1)", digests)[0]["count"] == 2


def test_no_secret_is_anywhere_in_the_tables(auth: Client, sql: Sql) -> None:
    new, session = a_user(auth), a_session(auth)
    stored = "\n".join(row["row"] for row in sql(EVERYTHING))
    assert new.email in stored
    for secret in (new.password, session.access_token, session.refresh_token):
        assert secret not in stored
        assert secret.encode().hex() not in stored
