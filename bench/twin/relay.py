"""Delivery of outbox rows: an event in Kafka for each, and the changes of billing accounts."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
from confluent_kafka import Producer
from sqlalchemy import BigInteger, Row, any_, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from bench.twin.database import Database
from bench.twin.models import OutboxRow
from bench.twin.security import SERVICES, TOKEN_SECONDS, Tokens
from bench.twin.settings import TOPIC, Settings

_BATCH = 100
_IDLE_SECONDS = 1.0
_TIMEOUT_SECONDS = 5

_log = logging.getLogger(__name__)

_Rows = Sequence[Row[*tuple[Any, ...]]]

_WAITING = (
    select(OutboxRow.id, OutboxRow.key, OutboxRow.type, OutboxRow.payload, OutboxRow.account)
    .where(OutboxRow.delivered_time.is_(None))
    .order_by(OutboxRow.id)
    .limit(_BATCH)
    .with_for_update(skip_locked=True)
)


class Relay:
    """Delivers the rows in batches, after each commit of this process and once a second."""

    def __init__(self, db: Database, tokens: Tokens, settings: Settings) -> None:
        self._db = db
        self._tokens = tokens
        self._token, self._token_time = "", float("-inf")
        self._producer = Producer({"bootstrap.servers": settings.kafka, "acks": "all", "linger.ms": 0})
        self._billing = aiohttp.ClientSession(
            settings.billing_url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        )
        self._committed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._billing.close()

    def wake(self) -> None:
        """Wakes the relay after a commit."""
        self._committed.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._committed.wait(), _IDLE_SECONDS)
            self._committed.clear()
            try:
                while await self._deliver_batch() == _BATCH:
                    pass
            except Exception:  # noqa: BLE001 - the rows are delivered later
                _log.exception("events cannot be delivered")

    async def _deliver_batch(self) -> int:
        async with self._db.engine.begin() as connection:
            rows = (await connection.execute(_WAITING)).all()
            if rows:
                await asyncio.gather(asyncio.to_thread(self._publish, rows), self._change_accounts(rows))
                ids = literal([row.id for row in rows], ARRAY(BigInteger))
                delivered = update(OutboxRow).where(OutboxRow.id == any_(ids))
                await connection.execute(delivered.values(delivered_time=datetime.now(UTC)))
        return len(rows)

    def _publish(self, rows: _Rows) -> None:
        """Publishes the rows in order, and waits for the broker. Raises RuntimeError."""
        failures: list[object] = []

        def check(error: object, _: object) -> None:
            if error is not None:
                failures.append(error)

        for row in rows:
            headers = [("ce_type", row.type.encode()), ("content-type", b"application/json")]
            self._producer.produce(TOPIC, row.payload, row.key, headers=headers, on_delivery=check)
        if self._producer.flush(_TIMEOUT_SECONDS) or failures:
            raise RuntimeError(f"events were not published: {failures}")

    async def _change_accounts(self, rows: _Rows) -> None:
        """Sends the changes of accounts to billing as one batch."""
        changes = b",".join(row.account for row in rows if row.account)
        if not changes:
            return
        headers = {"authorization": f"Bearer {self._service_token()}", "content-type": "application/json"}
        async with self._billing.post(
            "/v1/billing-accounts:batch", data=b"[" + changes + b"]", headers=headers
        ) as done:
            done.raise_for_status()

    def _service_token(self) -> str:
        if time.monotonic() - self._token_time > TOKEN_SECONDS / 2:
            self._token = self._tokens.sign(subject="patient", role="SERVICE", audience=SERVICES)
            self._token_time = time.monotonic()
        return self._token
