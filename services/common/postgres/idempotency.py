"""Requests with an id (AIP-155): the first answer is stored with its change, and given to every repetition.

The database decides who is first: the row of a request is inserted before anything else is done, so that a repetition
waits at the unique key until the first is committed, and then reads its answer. A request that fails leaves no row.
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
"""How long an answer is kept. Afterwards its request id is as good as new."""

_PRUNED_AT_ONCE = 10
_KEY = ("actor_id", "request_type", "request_id")

A = TypeVar("A", bound=betterproto2.Message)


def responses_table(metadata: MetaData) -> Table:
    """Adds the stored answers to a service's tables."""
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
    """The answers that a service has stored. A request without an id passes them by."""

    def __init__(self, table: Table) -> None:
        """Takes the table that responses_table made."""
        row = table.c
        key = [row[name] for name in _KEY]
        is_it = [column == bindparam(column.name) for column in key]
        expired = row.create_time < func.now() - bindparam("retention", type_=Interval)
        new = insert(table).values({name: bindparam(name) for name in (*_KEY, "digest")})
        anew = {"digest": new.excluded.digest, "answer": null(), "create_time": func.now()}
        self._claim = Statement(
            new.on_conflict_do_update(index_elements=key, set_=anew, where=expired).returning(row.request_id)
        )
        self._earlier = Statement(select(row.digest, row.answer).where(*is_it))
        self._remember = Statement(update(table).where(*is_it).values(answer=bindparam("stored", type_=LargeBinary)))
        # Locked rows are skipped: whoever holds one may be waiting for the row that is claimed here.
        oldest = select(*key).where(expired).limit(_PRUNED_AT_ONCE).with_for_update(skip_locked=True)
        self._prune = Statement(delete(table).where(tuple_(*key).in_(oldest)))

    async def find(self, tx: Transaction, caller: Caller, request: Any, answer: type[A]) -> A | None:
        """Returns what the caller's first request with this id was answered, None if this is the first.

        Waits for a first one that is under way. Called before the transaction does anything else. Raises
        RequestIdReused.
        """
        if not request.request_id:
            return None
        key, digest = _key(caller, request), _digest(request)
        if await tx.row(self._claim, **key, digest=digest, retention=RETENTION):
            await tx.run(self._prune, retention=RETENTION)
            return None
        [first] = await tx.rows(self._earlier, **key)
        if first["digest"] != digest:
            raise RequestIdReused
        return codec.codec_of(answer).loads(first["answer"])

    async def store(self, tx: Transaction, caller: Caller, request: Any, answer: A) -> A:
        """Stores the answer of a first request, and returns it."""
        if request.request_id:
            stored = codec.codec_of(type(answer)).dumps(answer)
            await tx.run(self._remember, **_key(caller, request), stored=stored)
        return answer


def _key(caller: Caller, request: Any) -> dict[str, Any]:
    return {
        "actor_id": caller.id,
        "request_type": codec.full_name(type(request)),
        "request_id": request.request_id,
    }


def _digest(request: Any) -> bytes:
    content = codec.codec_of(type(request)).dumps(replace(request, request_id=""))
    return hashlib.blake2b(content, digest_size=32).digest()
