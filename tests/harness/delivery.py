"""The relays of the patient service and the consumer of analytics, without their RPCs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg

from services.analytics.dead_letters import TOPIC as DEAD_LETTERS_TOPIC
from services.analytics.dead_letters import DeadLetters
from services.analytics.event_store import GROUP, EventStore
from services.analytics.models import known_topics as topics_of_analytics
from services.common.messaging.consumer import Subscription
from services.common.messaging.outbox import Outbox
from services.common.messaging.producer import Publisher
from services.common.messaging.topic import KnownTopics
from services.common.postgres.database import Database
from services.common.rpc.client import ServiceCredentials, create_trust_fetcher, open_channel
from services.common.rpc.tokens import TokenVerifier
from services.patient.changes import TOPIC
from services.patient.delivery import BillingAccounts, CareTeamMail, EventsTopic
from services.patient.models import known_topics, outbox_rows
from tests.harness.background import Background
from tests.harness.broker import Topic, open_topic
from tests.harness.services import CLIENT_ID, CLIENT_SECRET, serve_service
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

WAITING = "SELECT key FROM outbox WHERE delivered_time IS NULL"
"""The keys of the outbox rows that are not delivered."""


@dataclass(frozen=True)
class Addresses:
    """The addresses of the dependencies: host:port."""

    kafka: str
    auth: str
    billing: str


@asynccontextmanager
async def run_relays(url: str, to: Addresses) -> AsyncIterator[None]:
    """Delivers the outbox of a patient database to Kafka, billing and auth."""
    auth = open_channel(to.auth)
    credentials = ServiceCredentials(auth, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    outbox, known = Outbox(outbox_rows), KnownTopics(known_topics)
    async with (
        Database(url) as db,
        outbox.relay(db, known, EventsTopic(Publisher(to.kafka, TOPIC))),
        outbox.relay(db, known, BillingAccounts(open_channel(to.billing), credentials)),
        outbox.relay(db, known, CareTeamMail(auth, credentials)),
    ):
        yield


@asynccontextmanager
async def serve_billing(url: str, to: Addresses) -> AsyncIterator[None]:
    """Serves billing at its address, with the tokens of a real auth service."""
    verifier = TokenVerifier(create_trust_fetcher(open_channel(to.auth)))
    async with serve_service("billing", url, verifier, listen=to.billing):
        yield


@asynccontextmanager
async def run_consumer(url: str, kafka: str, *, dead_letters: str = "") -> AsyncIterator[None]:
    """Stores the events of the topic in an analytics database. Dead letters can go to another broker."""
    async with Database(url) as db:
        subscription = Subscription(kafka, TOPIC, group=GROUP, db=db, known=KnownTopics(topics_of_analytics))
        store = EventStore(db, DeadLetters(db, Publisher(dead_letters or kafka, DEAD_LETTERS_TOPIC)))
        task = asyncio.create_task(subscription.consume(store.store))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@dataclass(frozen=True)
class Delivery:
    """The outbox of the patient service and its destinations."""

    background: Background
    outbox_url: str
    billing_url: str
    to: Addresses

    def relays(self) -> AbstractContextManager[None]:
        """Runs the relays during a block."""
        return self.background.during(run_relays(self.outbox_url, self.to))

    def billing(self) -> AbstractContextManager[None]:
        """Runs billing during a block."""
        return self.background.during(serve_billing(self.billing_url, self.to))

    def topic(self) -> AbstractContextManager[Topic]:
        """Opens the topic for reading during a block."""
        return open_topic(self.to.kafka, TOPIC)

    def accounts(self, patient_id: str) -> list[asyncpg.Record]:
        """Returns the accounts of a patient."""
        found = "SELECT * FROM accounts WHERE patient_id = $1::uuid"
        return Sql(self.background, self.billing_url)(found, patient_id)

    def wait(self, destination: str = "%") -> None:
        """Waits until all rows are delivered."""
        sql = Sql(self.background, self.outbox_url)
        eventually(lambda: not sql(f"{WAITING} AND destination LIKE $1", destination))
