"""Access events. Those of changes are written in their transactions, those of reads are buffered for batches."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from fastapi import Request
from sqlalchemy import insert
from uuid_utils.compat import uuid7

from bench.twin.database import Database
from bench.twin.models import AccessEvent
from bench.twin.security import Caller

_WRITE_SECONDS = 0.5

_log = logging.getLogger(__name__)


def build_event(request: Request, caller: Caller, method: str, patient_ids: Sequence[UUID]) -> dict[str, Any]:
    """Returns the columns of the event of a call."""
    return {
        "id": uuid7(),
        "patient_ids": list(patient_ids),
        "actor_id": caller.id,
        "method": method,
        "outcome": "OK",
        "occur_time": datetime.now(UTC),
        "request_id": request.headers.get("x-request-id", ""),
        "remote_address": request.client.host if request.client else "",
    }


class AccessLog:
    """Buffers the events of reads, and writes them every half second."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._write()

    def record(self, event: dict[str, Any]) -> None:
        """Buffers an event."""
        self._waiting.append(event)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            try:
                await self._write()
            except Exception:  # noqa: BLE001 - the next batch may be written
                _log.exception("access events cannot be written")

    async def _write(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            async with self._db.engine.begin() as connection:
                await connection.execute(insert(AccessEvent), batch)
