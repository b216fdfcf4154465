"""Runs the patient service and the relays of its outbox."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import grpc
from msgspec import Meta

from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.messaging.outbox import Outbox
from services.common.messaging.producer import Publisher
from services.common.messaging.topic import KnownTopics
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database, open_database
from services.common.postgres.retention import OldRows, Retention
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import ServiceCredentials, create_trust_fetcher, open_channel
from services.common.rpc.server import run, serve
from services.common.rpc.tls import Tls
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import SettingsWithKafka
from services.patient.changes import TOPIC
from services.patient.delivery import BillingAccounts, CareTeamMail, EventsTopic
from services.patient.erasures import Eraser
from services.patient.fhir.exports import OLD_EXPORTS
from services.patient.listing import CONCURRENT_SEARCHES
from services.patient.models import AUDIT, known_topics, outbox_rows
from services.patient.service import PatientService
from services.patient.servicers import create_servicers
from services.patient.watch import HEARTBEAT_SECONDS


class PatientSettings(SettingsWithKafka, frozen=True, kw_only=True):
    """The settings of the patient service."""

    billing: Annotated[str, Meta(description="Addresses of the billing service: host:port, comma-separated.")]
    service_secret: Annotated[str, Meta(description="Client secret that authenticates the patient service to auth.")]
    watch_heartbeat_seconds: Annotated[
        float,
        Meta(
            gt=0,
            description="Interval of heartbeats on an idle watch; the gateway closes a stream that is idle for 300 s.",
        ),
    ] = HEARTBEAT_SECONDS
    outbox_retention_days: Annotated[
        int,
        Meta(ge=1, description="Days that delivered events are retained, for a restored receiver or a new topic."),
    ] = 7
    erasure_delay_days: Annotated[
        int,
        Meta(
            ge=0, description="Days between ErasePatient and the erasure; with fewer than 30, topics keep data longer."
        ),
    ] = 30
    concurrent_searches: Annotated[
        int,
        Meta(
            ge=1, description="Maximum number of concurrent patient lists with a query or filter; others wait for 1 s."
        ),
    ] = CONCURRENT_SEARCHES


async def main() -> None:
    """Serves until the process receives a signal to stop."""
    settings = PatientSettings.read()
    configure_logging("patient", settings.log_level)
    tls = Tls.read(settings)
    auth = open_channel(settings.auth, service="auth", tls=tls)
    billing = open_channel(settings.billing, service="billing", tls=tls)
    credentials = ServiceCredentials(auth, client_id="patient", client_secret=settings.service_secret)
    outbox, known = Outbox(outbox_rows), KnownTopics(known_topics)
    topic = EventsTopic(Publisher(settings.kafka_servers(), TOPIC))
    async with (
        open_database(settings) as db,
        Sealer(db, AUDIT) as sealer,
        export_telemetry(settings, "patient", [db, outbox, sealer]),
        AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
        Retention(
            db,
            OldRows(outbox_rows, outbox_rows.c.delivered_time, timedelta(settings.outbox_retention_days)),
            OLD_EXPORTS,
        ),
        outbox.relay(db, known, topic),
        outbox.relay(db, known, BillingAccounts(billing, credentials)),
        outbox.relay(db, known, CareTeamMail(auth, credentials)),
        Eraser(db, outbox, log),
    ):
        servicers = _create_servicers(settings, db, outbox, billing)
        verifier = TokenVerifier(create_trust_fetcher(auth))
        audit = AccessInterceptors(log, path_ids_are_subjects=True)
        await serve(settings, SERVICES["patient"], servicers, verifier=verifier, dependencies=[db], audit=audit)


def _create_servicers(
    settings: PatientSettings, db: Database, outbox: Outbox, billing: grpc.aio.Channel
) -> Sequence[object]:
    resume_key = settings.service_secret.encode()  # the secret that all processes of the service share
    patients = PatientService(
        db,
        outbox,
        resume_key=resume_key,
        heartbeat_seconds=settings.watch_heartbeat_seconds,
        concurrent_searches=settings.concurrent_searches,
    )
    return create_servicers(
        db,
        outbox,
        patients,
        billing,
        resume_key=resume_key,
        erasure_delay_days=settings.erasure_delay_days,
        concurrent_searches=settings.concurrent_searches,
    )


if __name__ == "__main__":
    run(main)
