"""Idempotent requests (AIP-155): the first response is stored with the change, and returned to every retry.

The row of a request is inserted first in its transaction. A concurrent retry waits at the unique key until the first
request is committed, and then reads the stored response. A failed request leaves no row.
"""

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import betterproto2
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.common.context import Caller
from services.common.errors import RequestIdReused
from services.common.postgres.database import Statement, Transaction
from services.common.protobuf import codec

RETENTION = timedelta(hours=24)
"""How long a response is stored. Afterwards its request id can be used for a new request."""

_PRUNE_LIMIT = 10
_KEY = ("actor_id", "request_type", "request_id")

A = TypeVar("A", bound=betterproto2.Message)


def responses_table(metadata: MetaData) -> Table:
    """Adds the table of StoredResponses to a service's tables."""
    table = Table(
        "answers",
        metadata,
        *(Column(name, Text, primary_key=True) for name in _KEY),
        Column("digest", LargeBinary, nullable=False),
        Column("answer", LargeBinary),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    Index("answers_oldest", table.c.create_time)
    return table


class StoredResponses:
    """The stored responses of a service. Requests without an id are not stored."""

    def __init__(self, table: Table) -> None:
        """Takes a table that responses_table created."""
        row = table.c
        key = [row[name] for name in _KEY]
        is_request = [column == bindparam(column.name) for column in key]
        expired = row.create_time < func.now() - bindparam("retention", type_=Interval)
        new = insert(table).values({name: bindparam(name) for name in (*_KEY, "digest")})
        reset = {"digest": new.excluded.digest, "answer": null(), "create_time": func.now()}
        self._claim = Statement(
            new.on_conflict_do_update(index_elements=key, set_=reset, where=expired).returning(row.request_id)
        )
        self._find = Statement(select(row.digest, row.answer).where(*is_request))
        self._store = Statement(update(table).where(*is_request).values(answer=bindparam("stored", type_=LargeBinary)))
        # Skips locked rows, because the transaction that holds the lock may wait for the row that is claimed here.
        oldest = select(*key).where(expired).limit(_PRUNE_LIMIT).with_for_update(skip_locked=True)
        self._prune = Statement(delete(table).where(tuple_(*key).in_(oldest)))

    async def find(self, tx: Transaction, caller: Caller, request: Any, response: type[A]) -> A | None:
        """Returns the response to the caller's first request with this id, or None if this is the first.

        Must be the first step of the transaction. Waits for a concurrent first request. Raises RequestIdReused.
        """
        if not request.request_id:
            return None
        key, digest = _build_key(caller, request), _compute_digest(request)
        if await tx.row(self._claim, **key, digest=digest, retention=RETENTION):
            await tx.run(self._prune, retention=RETENTION)
            return None
        [first] = await tx.rows(self._find, **key)
        if first["digest"] != digest:
            raise RequestIdReused
        return codec.codec_of(response).loads(first["answer"])

    async def store(self, tx: Transaction, caller: Caller, request: Any, response: A) -> A:
        """Stores the response to a first request, and returns it."""
        if request.request_id:
            stored = codec.codec_of(type(response)).dumps(response)
            await tx.run(self._store, **_build_key(caller, request), stored=stored)
        return response


def _build_key(caller: Caller, request: Any) -> dict[str, Any]:
    return {
        "actor_id": caller.id,
        "request_type": codec.full_name(type(request)),
        "request_id": request.request_id,
    }


def _compute_digest(request: Any) -> bytes:
    content = codec.codec_of(type(request)).dumps(replace(request, request_id=""))
    return hashlib.blake2b(content, digest_size=32).digest()
