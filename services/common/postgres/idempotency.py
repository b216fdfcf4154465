"""Idempotent requests (AIP-155): the first response is stored with the change, and returned to every retry.

The response is inserted in the transaction of the change. A concurrent retry waits at a unique key until the first
request is committed, fails, and then reads the stored response. A failed request leaves no row.
"""

import hashlib
from collections.abc import Callable
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
    insert,
    select,
    tuple_,
)

from services.common.context import Caller
from services.common.errors import Failure, RequestIdReused, TransactionConflict
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.common.protobuf import codec
from services.common.protobuf.encoded import Encoded

RETENTION = timedelta(hours=24)
"""How long a response is stored. Afterwards its request id can be used for a new request."""

_PRUNE_LIMIT = 10
_KEY = ("actor_id", "request_type", "request_id")

M = TypeVar("M", bound=betterproto2.Message)


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
        # Postgres does not know the result of the subquery when it plans, so it keeps one plan.
        retention = select(bindparam("retention", type_=Interval)).scalar_subquery()
        is_expired = row.create_time < func.now() - retention
        self._insert = Statement(insert(table).values({name: bindparam(name) for name in (*_KEY, "digest", "answer")}))
        self._find = Statement(select(row.digest, row.answer, is_expired.label("is_expired")).where(*is_request))
        self._delete_expired = Statement(delete(table).where(*is_request, is_expired))
        # Skips locked rows, because the transaction that holds the lock may wait for the row that is inserted here.
        oldest = select(*key).where(is_expired).order_by(row.create_time).limit(constant(_PRUNE_LIMIT))
        self._prune = Statement(delete(table).where(tuple_(*key).in_(oldest.with_for_update(skip_locked=True))))
        self._conflicts = {f"{table.name}_pkey": TransactionConflict}

    async def respond_once(
        self, db: Database, caller: Caller, request: Any, create: Callable[[Transaction], Encoded[M]]
    ) -> tuple[Encoded[M], bool]:
        """Returns the response to the caller's first request with this id, and whether this is the first.

        `create` adds a change to a transaction and returns the response. If the request is a repetition, a unique
        constraint rejects the transaction, and the stored response is returned. Raises the failures of `create`,
        RequestIdReused.
        """
        if not request.request_id:
            async with db.begin() as tx:
                return create(tx), True
        key, digest = _build_key(caller, request), _compute_digest(request)
        while True:
            try:
                async with db.begin() as tx:
                    created = create(tx)
                    tx.add(self._insert, conflicts=self._conflicts, **key, digest=digest, answer=created.data)
                    tx.add(self._prune, retention=RETENTION)
            except Failure:
                if (first := await db.row(self._find, **key, retention=RETENTION)) is None:
                    raise
            else:
                return created, True
            if not first["is_expired"]:
                break
            await db.row(self._delete_expired, **key, retention=RETENTION)
        if first["digest"] != digest:
            raise RequestIdReused
        return Encoded(first["answer"]), False


def _build_key(caller: Caller, request: Any) -> dict[str, Any]:
    return {
        "actor_id": caller.id,
        "request_type": codec.full_name(type(request)),
        "request_id": request.request_id,
    }


def _compute_digest(request: Any) -> bytes:
    content = codec.codec_of(type(request)).dumps(replace(request, request_id=""))
    return hashlib.blake2b(content, digest_size=32).digest()
