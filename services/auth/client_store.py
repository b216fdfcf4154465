"""Machine clients and their secrets in the database.

A secret is random, so it is stored as a digest, as other random tokens are. A client has one current secret, which has
no expire_time, and at most one previous secret, which expires.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Record
from sqlalchemy import Boolean, DateTime, Interval, Uuid, bindparam, delete, func, insert, literal, or_, select, update
from uuid_utils.compat import uuid7

from services.auth.models import client_secrets, clients
from services.auth.opaque_tokens import create_token, hash_token
from services.auth.session_store import TOKEN_VALIDITY
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement

_USE_ACCURACY = timedelta(minutes=1)
"""How far the time of a client's last use is behind at most. It is written only when it is older."""

_client, _secret = clients.c, client_secrets.c
_with_state = select(clients, (_client.expire_time <= func.now()).label("is_expired"))
_is_active = (
    _client.revoke_time.is_(None),
    or_(_client.expire_time.is_(None), _client.expire_time > func.now()),
    _secret.end_time.is_(None),
    or_(_secret.expire_time.is_(None), _secret.expire_time > func.now()),
)
_is_of_client = _secret.client_id == bindparam("owner_id", type_=Uuid)

LIST_CLIENTS = Listing(_with_state, _client.create_time, _client.id)
GET_CLIENT = Statement(_with_state.where(_client.id == bindparam("id")))
LOCK_CLIENT = Statement(_with_state.where(_client.id == bindparam("id")).with_for_update(of=clients))
LIST_ENDED_SECRETS = Statement(
    select(_secret.id).where(_secret.end_time > func.now() - bindparam("within", type_=Interval))
)
INSERT_CLIENT = Statement(
    insert(clients)
    .values({name: bindparam(name) for name in ("id", "display_name", "scope", "creator_id", "expire_time")})
    .returning(*_client)
)
REVOKE_CLIENT = Statement(
    update(clients)
    .where(_client.id == bindparam("client_id"), _client.revoke_time.is_(None))
    .values(revoke_time=func.now())
    .returning(*_client)
)

_LIST_SECRETS = Statement(
    select(
        _client.id,
        _client.scope,
        _secret.id.label("secret_id"),
        _secret.digest,
        func.least(_client.expire_time, _secret.expire_time).label("expire_time"),
        or_(
            _client.last_use_time.is_(None), _client.last_use_time < func.now() - literal(_USE_ACCURACY, Interval)
        ).label("is_use_outdated"),
    )
    .join_from(client_secrets, clients)
    .where(_is_of_client, *_is_active)
)
_RECORD_USE = Statement(
    update(clients).where(_client.id == bindparam("client_id")).values(last_use_time=func.now()).returning(_client.id)
)
_INSERT_SECRET = Statement(
    insert(client_secrets).values({name: bindparam(name) for name in ("id", "client_id", "digest")})
)
_END_SECRETS = Statement(
    update(client_secrets)
    .where(
        _is_of_client,
        _secret.end_time.is_(None),
        or_(bindparam("are_all_ended", type_=Boolean), _secret.expire_time.is_not(None)),
        or_(_secret.expire_time.is_(None), _secret.expire_time > func.now()),
    )
    .values(end_time=func.now())
)
_EXPIRE_SECRET = Statement(
    update(client_secrets)
    .where(_is_of_client, _secret.end_time.is_(None), _secret.expire_time.is_(None))
    .values(expire_time=bindparam("new_expire_time", type_=DateTime(timezone=True)))
)
_outdated = func.now() - bindparam("within", type_=Interval)
_DELETE_ENDED_SECRETS = Statement(
    delete(client_secrets).where(_is_of_client, or_(_secret.end_time < _outdated, _secret.expire_time < _outdated))
)


async def add_secret(tx: Transaction, client_id: UUID) -> str:
    """Adds a secret to a client, as the current one, and returns it."""
    secret = create_token()
    await tx.run(_INSERT_SECRET, id=uuid7(), client_id=client_id, digest=hash_token(secret))
    return secret


async def expire_current_secret(tx: Transaction, client_id: UUID, expire_time: datetime) -> None:
    """Ends the previous secret of a client, and sets the time at which the current one expires.

    With a time in the past, the current one ends too. Every service rejects the tokens of an ended secret within 5
    seconds. Those of an expired one have expired before.
    """
    await tx.run(_DELETE_ENDED_SECRETS, owner_id=client_id, within=TOKEN_VALIDITY)
    await end_secrets(tx, client_id, are_all_ended=expire_time <= datetime.now(UTC))
    await tx.run(_EXPIRE_SECRET, owner_id=client_id, new_expire_time=expire_time)


async def end_secrets(tx: Transaction, client_id: UUID, *, are_all_ended: bool = True) -> None:
    """Ends all secrets of a client, or only the previous one."""
    await tx.run(_END_SECRETS, owner_id=client_id, are_all_ended=are_all_ended)


async def list_secrets(db: Database, client_id: UUID) -> list[Record]:
    """Returns the valid secrets of an active client. Each has the scope of the client, and when either expires."""
    return await db.rows(_LIST_SECRETS, owner_id=client_id)


def find_secret(secrets: Sequence[Record], secret: str) -> Record | None:
    """Returns the row of a secret, or None. Takes the same time for a wrong secret as for no secrets."""
    digest = hash_token(secret)
    return next((row for row in secrets if hmac.compare_digest(row["digest"], digest)), None)


async def record_use(db: Database, client: Record) -> None:
    """Sets the time of a client's last use to now, if it is more than a minute old."""
    if client["is_use_outdated"]:
        await db.row(_RECORD_USE, client_id=client["id"])
