"""Logins that wait for the code of a second factor."""

from datetime import UTC, datetime, timedelta

from asyncpg import Record
from sqlalchemy import bindparam, delete, func, insert, select, update

from services.auth.models import login_challenges, users
from services.auth.opaque_tokens import create_token, hash_token
from services.common.postgres.database import Transaction
from services.common.postgres.statement import Statement

VALIDITY = timedelta(minutes=5)
MAX_WRONG_CODES = 5

_row = login_challenges.c
_has_digest = _row.digest == bindparam("of_digest")

_INSERT = Statement(
    insert(login_challenges).values(
        {name: bindparam(name) for name in ("digest", "user_id", "password_digest", "expire_time")}
    )
)
_LOCK_USER = Statement(
    select(users, _row.password_digest)
    .join(login_challenges, _row.user_id == users.c.id)
    .where(_has_digest, _row.expire_time > func.now(), _row.failures < MAX_WRONG_CODES, users.c.second_factor)
    .with_for_update(key_share=True)
)
_COUNT_FAILURE = Statement(update(login_challenges).where(_has_digest).values(failures=_row.failures + 1))
_DELETE = Statement(delete(login_challenges).where(_has_digest))


async def create_challenge(tx: Transaction, user: Record) -> str:
    """Returns a challenge for a user whose password was verified. A password change invalidates it."""
    challenge = create_token()
    await tx.run(
        _INSERT,
        digest=hash_token(challenge),
        user_id=user["id"],
        password_digest=hash_token(user["password_hash"]),
        expire_time=datetime.now(UTC) + VALIDITY,
    )
    return challenge


async def lock_challenged_user(tx: Transaction, challenge: str) -> Record | None:
    """Returns the user of a challenge, or None if the challenge is not valid. Locks both rows."""
    user = await tx.row(_LOCK_USER, of_digest=hash_token(challenge))
    return user if user and user["password_digest"] == hash_token(user["password_hash"]) else None


async def count_wrong_code(tx: Transaction, challenge: str) -> None:
    """Counts a wrong code. The fifth invalidates the challenge."""
    await tx.run(_COUNT_FAILURE, of_digest=hash_token(challenge))


async def delete_challenge(tx: Transaction, challenge: str) -> None:
    """Deletes a challenge, which is used."""
    await tx.run(_DELETE, of_digest=hash_token(challenge))
