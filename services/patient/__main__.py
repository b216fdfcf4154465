"""Runs the patient service, with the relays that deliver its events."""

from typing import Annotated

from msgspec import Meta

from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.messaging.kafka import KnownTopics, Publisher
from services.common.messaging.outbox import Outbox
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import ServiceCredentials, channel, trust_from
from services.common.rpc.server import run, serve
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import KafkaServers, SettingsWithAuth
from services.patient.events import TOPIC, BillingAccounts, EventsTopic
from services.patient.models import AUDIT, known_topics, outbox_rows
from services.patient.service import CONCURRENT_SEARCHES, PatientService
from services.patient.watching import HEARTBEAT_SECONDS


class PatientSettings(SettingsWithAuth, frozen=True, kw_only=True):
    """What the patient service is told."""

    kafka: KafkaServers
    billing: Annotated[str, Meta(description="Where the billing service listens: host:port, several by commas.")]
    service_secret: Annotated[str, Meta(description="The patient service's secret, by which auth knows it.")]
    watch_heartbeat_seconds: Annotated[
        float, Meta(gt=0, description="The longest silence of a watch; the gateway ends one that is silent for 300 s.")
    ] = HEARTBEAT_SECONDS
    concurrent_searches: Annotated[
        int,
        Meta(ge=1, description="Lists of patients with a query or a filter under way at once; others wait a second."),
    ] = CONCURRENT_SEARCHES


async def main() -> None:
    """Serves until it is told to stop."""
    settings = PatientSettings.read()
    configure_logging("patient", settings.log_level)
    auth = channel(settings.auth)
    credentials = ServiceCredentials(auth, client_id="patient", client_secret=settings.service_secret)
    outbox, known = Outbox(outbox_rows), KnownTopics(known_topics)
    topic = EventsTopic(Publisher(settings.kafka, TOPIC))
    async with (
        Database(settings.database_url, connections=settings.database_connections) as db,
        export_telemetry(settings, "patient", [db, outbox]),
        AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
        Sealer(db, AUDIT),
        outbox.relay(db, known, topic),
        outbox.relay(db, known, BillingAccounts(channel(settings.billing), credentials)),
    ):
        patients = PatientService(
            db,
            outbox,
            resume_key=settings.service_secret.encode(),  # the one secret that all processes of the service share
            heartbeat_seconds=settings.watch_heartbeat_seconds,
            concurrent_searches=settings.concurrent_searches,
        )
        verifier = TokenVerifier(trust_from(auth))
        audit = AccessInterceptors(log, path_ids_are_subjects=True)
        await serve(settings, SERVICES["patient"], patients, verifier=verifier, parts=[db], audit=audit)


if __name__ == "__main__":
    run(main)
