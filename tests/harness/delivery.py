"""The relays of the patient service and the consumer of analytics, without their RPCs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

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
from services.patient.delivery import BillingAccounts, EventsTopic
from services.patient.models import known_topics, outbox_rows
from tests.harness.services import CLIENT_ID, CLIENT_SECRET, serve_service


@dataclass(frozen=True)
class Addresses:
    """The addresses of the dependencies: host:port."""

    kafka: str
    auth: str
    billing: str


@asynccontextmanager
async def run_relays(url: str, to: Addresses) -> AsyncIterator[None]:
    """Delivers the outbox of a patient database to Kafka and to billing."""
    credentials = ServiceCredentials(open_channel(to.auth), client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    outbox, known = Outbox(outbox_rows), KnownTopics(known_topics)
    async with (
        Database(url) as db,
        outbox.relay(db, known, EventsTopic(Publisher(to.kafka, TOPIC))),
        outbox.relay(db, known, BillingAccounts(open_channel(to.billing), credentials)),
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
