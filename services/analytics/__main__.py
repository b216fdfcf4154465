"""Runs the analytics service and its Kafka consumer."""

import asyncio
from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from services.analytics.dead_letters import TOPIC as DEAD_LETTERS_TOPIC
from services.analytics.dead_letters import DeadLetters
from services.analytics.event_store import GROUP, TOPIC, EventStore
from services.analytics.models import AUDIT, events, known_topics
from services.analytics.service import AnalyticsService
from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.messaging.consumer import Subscription
from services.common.messaging.producer import Publisher
from services.common.messaging.topic import KnownTopics
from services.common.messaging.topic_settings import DEAD_LETTERS
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.patient_access import create_access_finder
from services.common.postgres.database import open_database
from services.common.postgres.retention import OldRows, Retention
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.server import run, serve
from services.common.rpc.tls import Tls
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import PatientAddresses, SettingsWithKafka


class AnalyticsSettings(SettingsWithKafka, frozen=True, kw_only=True):
    """The settings of the analytics service."""

    patient: PatientAddresses
    event_retention_days: Annotated[
        int,
        Meta(ge=0, description="Days that patient events are retained, and counted in statistics; 0 means forever."),
    ] = 0
    consumer_id: Annotated[
        str,
        Meta(
            description="Member id of the process in the consumer group: stable, and unique among the processes of the"
            " service. A restart or upgrade then moves no partitions. Not supported by the embedded broker."
        ),
    ] = ""


async def main() -> None:
    """Serves and consumes until the process receives a signal to stop. Exits if the consumer fails."""
    settings = AnalyticsSettings.read()
    configure_logging("analytics", settings.log_level)
    tls = Tls.read(settings)
    verifier = TokenVerifier(create_trust_fetcher(open_channel(settings.auth, service="auth", tls=tls)))
    patient = open_channel(settings.patient, service="patient", tls=tls)
    kafka = settings.kafka_servers()
    async with open_database(settings) as db:
        subscription = Subscription(
            kafka, TOPIC, group=GROUP, db=db, known=KnownTopics(known_topics), member_id=settings.consumer_id
        )
        dead_letters = DeadLetters(db, Publisher(kafka, DEAD_LETTERS_TOPIC, DEAD_LETTERS))
        async with (
            asyncio.TaskGroup() as tasks,
            Sealer(db, AUDIT) as sealer,
            export_telemetry(settings, "analytics", [db, subscription, dead_letters, sealer]),
            AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
            Retention(db, OldRows(events, events.c.occur_time, timedelta(settings.event_retention_days))),
        ):
            consumer = tasks.create_task(subscription.consume(EventStore(db, dead_letters).store))
            service = AnalyticsService(db, create_access_finder(patient))
            audit = AccessInterceptors(log, path_ids_are_subjects=False)
            await serve(settings, SERVICES["analytics"], service, verifier=verifier, dependencies=[db], audit=audit)
            consumer.cancel()


if __name__ == "__main__":
    run(main)
