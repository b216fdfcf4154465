"""The sessions of users and their refresh tokens in the database.

A transaction locks the row of a session before it changes the session's refresh tokens, so a session that is ended
during a refresh has no valid refresh token afterwards.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import Interval, Text, Uuid, bindparam, cast, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.auth.models import refresh_tokens, sessions
from services.auth.opaque_tokens import create_token, hash_token
from services.common.audit.events import current_access
from services.common.postgres.database import Transaction
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement
from services.common.rpc.metadata import read_user_agent
from services.common.rpc.token_rules import CLOCK_SKEW_SECONDS, MAX_TOKEN_SECONDS

TOKEN_VALIDITY = timedelta(seconds=MAX_TOKEN_SECONDS + 2 * CLOCK_SKEW_SECONDS)
"""The longest time for which a verifier accepts a token: its maximum lifetime plus twice the clock skew."""

MAX_SESSIONS = 100
"""The number of active sessions of a user. A login beyond it ends the oldest."""

MAX_ENDED = 100_000
"""The number of ended sessions in a trust bundle, which must be smaller than a message: each takes 38 bytes."""

_session, _token = sessions.c, refresh_tokens.c
_is_of_user = _session.user_id == bindparam("user_id")
_is_active = (_session.end_time.is_(None), _session.expire_time > func.now())

LIST_SESSIONS = Listing(select(sessions).where(_is_of_user, *_is_active), _session.create_time, _session.id)
LIST_ENDED_SESSIONS = Statement(
    select(_session.id)
    .where(_session.end_time > func.now() - bindparam("within", type_=Interval))
    .order_by(_session.end_time.desc())
    .limit(MAX_ENDED)
)

_begun = upsert(sessions).values(
    {name: bindparam(name) for name in ("id", "user_id", "expire_time", "remote_address", "user_agent")}
)
_BEGIN_OR_EXTEND = Statement(
    _begun.on_conflict_do_update(
        index_elements=[_session.id],
        set_={"last_use_time": func.now()}
        | {name: _begun.excluded[name] for name in ("expire_time", "remote_address", "user_agent")},
        where=_session.end_time.is_(None),
    ).returning(_session.id)
)
_one, _kept = bindparam("session_id", type_=Uuid), bindparam("kept_id", type_=Uuid)
_END = Statement(
    update(sessions)
    .where(_is_of_user, *_is_active, or_(_one.is_(None), _session.id == _one), _session.id.is_distinct_from(_kept))
    .values(end_time=func.now())
    .returning(_session.id)
)
_DELETE_TOKENS = Statement(
    delete(refresh_tokens).where(
        _token.user_id == bindparam("user_id"),
        or_(_one.is_(None), _token.family_id == _one),
        _token.family_id.is_distinct_from(_kept),
    )
)
_GET_OWNER = Statement(
    select(
        _token.user_id,
        _token.family_id,
        (_token.expire_time <= func.now()).label("is_expired"),
        # The previous version locks families of tokens instead of sessions.
        func.pg_advisory_xact_lock(func.hashtextextended(cast(_token.family_id, Text), 0)),
    ).where(_token.digest == bindparam("digest"))
)
_INSERT_TOKEN = Statement(
    insert(refresh_tokens).values({n: bindparam(n) for n in ("digest", "family_id", "user_id", "expire_time")})
)
_USE_TOKEN = Statement(
    update(refresh_tokens)
    .where(_token.digest == bindparam("digest"), _token.use_time.is_(None), _token.expire_time > func.now())
    .values(use_time=func.now())
    .returning(_token.family_id)
)
_oldest = select(_session.id).where(_is_of_user, *_is_active)
_oldest = _oldest.order_by(_session.create_time.desc(), _session.id.desc()).offset(MAX_SESSIONS).limit(MAX_SESSIONS)
_END_OLDEST = Statement(
    update(sessions).where(_session.id.in_(_oldest)).values(end_time=func.now()).returning(_session.id)
)
_DELETE_ALL_TOKENS = Statement(delete(refresh_tokens))
_DELETE_ALL_SESSIONS = Statement(delete(sessions))


async def find_owner(tx: Transaction, refresh_token: str) -> Record | None:
    """Returns the user_id of a refresh token, its family_id, which is the id of its session, and whether it expired."""
    return await tx.row(_GET_OWNER, digest=hash_token(refresh_token))


async def begin_or_extend(tx: Transaction, user_id: UUID, session_id: UUID, *, seconds: int) -> bool:
    """Begins a session, or extends it. It then expires after the given number of seconds.

    Returns False if the session has ended.
    """
    extended = await tx.row(
        _BEGIN_OR_EXTEND,
        id=session_id,
        user_id=user_id,
        expire_time=datetime.now(UTC) + timedelta(seconds=seconds),
        remote_address=current_access.get().remote_address,
        user_agent=read_user_agent(),
    )
    return extended is not None


async def use_token(tx: Transaction, refresh_token: str) -> bool:
    """Marks a refresh token as used. Returns False if it is expired or already used."""
    return await tx.row(_USE_TOKEN, digest=hash_token(refresh_token)) is not None


async def add_token(tx: Transaction, user_id: UUID, session_id: UUID, *, seconds: int) -> str:
    """Adds a refresh token to a session and returns it. It expires after the given number of seconds."""
    token = create_token()
    await tx.run(
        _INSERT_TOKEN,
        digest=hash_token(token),
        family_id=session_id,
        user_id=user_id,
        expire_time=datetime.now(UTC) + timedelta(seconds=seconds),
    )
    return token


async def end_sessions(
    tx: Transaction, user_id: UUID, *, session_id: UUID | None = None, kept_id: UUID | None = None
) -> int:
    """Ends one session of a user, or all except the kept one. Returns the number of sessions that were active.

    Every service rejects the access tokens of the sessions within 5 seconds.
    """
    selection: dict[str, Any] = {"user_id": user_id, "session_id": session_id, "kept_id": kept_id}
    ended = await tx.rows(_END, **selection)
    await tx.run(_DELETE_TOKENS, **selection)
    return len(ended)


async def end_oldest(tx: Transaction, user_id: UUID) -> None:
    """Ends the oldest sessions of a user above MAX_SESSIONS. The transaction has locked the user."""
    for row in await tx.rows(_END_OLDEST, user_id=user_id):
        await tx.run(_DELETE_TOKENS, user_id=user_id, session_id=row["id"], kept_id=None)


async def delete_all(tx: Transaction) -> None:
    """Deletes all sessions of all users. Their access tokens remain valid unless the signing keys are deleted too."""
    await tx.run(_DELETE_ALL_SESSIONS)  # first: waits for refreshes, whose new tokens must be deleted too
    await tx.run(_DELETE_ALL_TOKENS)
