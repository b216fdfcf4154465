"""Lists and statistics of analytics."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.growth.cases import Cases, Read
from gen.pulsetrack.analytics.v1 import Bucket, GetPatientStatisticsRequest, ListDeadLettersRequest, PatientEventType
from gen.pulsetrack.analytics.v1 import ListPatientEventsRequest as ListEvents
from services.analytics.models import LIST_DEAD_LETTERS, LIST_EVENTS
from services.analytics.service import AnalyticsService
from services.common.postgres.database import Database

_PATIENT: Final = "00000000-0000-7000-8000-000000000000"

_FILL: Final = (
    "INSERT INTO events (event_id, patient_id, type, sequence, actor_id, occur_time, payload)"
    " SELECT gen_random_uuid(),"
    " CASE WHEN n % 10 = 0 THEN '00000000-0000-7000-8000-000000000000' ELSE md5((n % ({count} / 3))::text)::uuid END,"
    " CASE WHEN n % ({count} / 20) = 7 THEN 4 WHEN n % 50 = 1 THEN 3 WHEN n % 3 = 0 THEN 1 ELSE 2 END, 1, 'an actor',"
    " now() - interval '2 years' * (1 - n / {count}::float8), convert_to(repeat('x', 220), 'UTF8')"
    " FROM generate_series(1, {count}) AS n",
    "INSERT INTO patients (patient_id, sequence, deleted, sex, date_of_birth)"
    " SELECT gen_random_uuid(), 1, n % 50 = 0, n % 3, date '1930-01-01' + n::int * 7 % 33000"
    " FROM generate_series(1, {count}) AS n",
    'INSERT INTO dead_letters (digest, topic, partition, "offset", headers, reason, receive_time)'
    " SELECT n::text::bytea, '', 0, n, '{}', '', now() - n * interval '1 min'"
    " FROM generate_series(1, {count} / 100) AS n",
)
"""Events of the last two years. A tenth are of one patient, and 20 have a rare type. The patients are as many."""


def _list_events(patient_id: str = "", kind: PatientEventType = PatientEventType.UNSPECIFIED) -> Read:
    listing, request = LIST_EVENTS[bool(patient_id), bool(kind)], ListEvents(patient_id=patient_id, type=kind)
    return lambda db: listing.read_page(db, request, patient_id=patient_id, type=int(kind), accessible=None)


async def _find_no_access() -> Sequence[str]:
    return ()


def _compute_statistics(days: int, bucket: Bucket) -> Read:
    async def read(db: Database) -> None:
        start = datetime.now(UTC) - timedelta(days=days)
        request = GetPatientStatisticsRequest(start=start, bucket=bucket)
        await AnalyticsService(db, _find_no_access).get_patient_statistics(request)

    return read


ANALYTICS: Final = Cases(
    service="analytics",
    fill=_FILL,
    table="events",
    reads={
        "events": _list_events(),
        "events of a patient": _list_events(_PATIENT),
        "events of a frequent type": _list_events(kind=PatientEventType.UPDATED),
        "events of a rare type": _list_events(kind=PatientEventType.UNDELETED),
        "statistics, 30 days": _compute_statistics(30, Bucket.DAY),
        "statistics, a year by day": _compute_statistics(365, Bucket.DAY),
        "statistics, a year by month": _compute_statistics(365, Bucket.MONTH),
        "dead letters": lambda db: LIST_DEAD_LETTERS.read_page(db, ListDeadLettersRequest()),
    },
)
