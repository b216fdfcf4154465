"""The RPCs of analytics."""

from datetime import UTC, datetime, timedelta

from asyncpg import Record

from gen.pulsetrack.analytics.v1 import (
    AnalyticsEvent,
    Bucket,
    GetPatientStatisticsRequest,
    ListPatientEventsRequest,
    ListPatientEventsResponse,
    PatientEventType,
    PatientStatistics,
    StatisticsBucket,
)
from services.analytics.models import COUNT_EVENTS, COUNT_PATIENTS, LIST_EVENTS, LIST_EVENTS_OF_PATIENT
from services.common.db import Database
from services.common.errors import FieldsInvalid

_DEFAULT_SPAN = timedelta(days=30)
_FIRST_TIME = datetime.min.replace(tzinfo=UTC)
_UNITS = {Bucket.UNSPECIFIED: "day", Bucket.DAY: "day", Bucket.WEEK: "week", Bucket.MONTH: "month"}


class AnalyticsService:
    """Tells what happened to patients, and counts it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def list_patient_events(self, request: ListPatientEventsRequest) -> ListPatientEventsResponse:
        """Returns a page of events, newest first.

        Raises PageTokenInvalid.
        """
        listing = LIST_EVENTS_OF_PATIENT if request.patient_id else LIST_EVENTS
        rows, next_page_token = await listing.page(
            self._db, request, patient_id=request.patient_id, type=int(request.type)
        )
        return ListPatientEventsResponse(events=[_event(row) for row in rows], next_page_token=next_page_token)

    async def get_patient_statistics(self, request: GetPatientStatisticsRequest) -> PatientStatistics:
        """Counts the events of a span of time, and the patients that there are now.

        Raises FieldsInvalid if the span ends before it starts.
        """
        now = datetime.now(UTC)
        end = request.end or now
        start = request.start or end - min(_DEFAULT_SPAN, end - _FIRST_TIME)
        if start > end:
            raise FieldsInvalid({"start": "must not be after the end"})
        async with self._db.begin() as tx:
            rows = await tx.rows(COUNT_EVENTS, bucket=_UNITS[request.bucket], start=start, end=end)
            [totals] = await tx.rows(COUNT_PATIENTS)
        return PatientStatistics(
            buckets=[StatisticsBucket(**row) for row in rows],
            **totals,
            as_of_time=now,
        )


def _event(row: Record) -> AnalyticsEvent:
    return AnalyticsEvent(
        event_id=str(row["event_id"]),
        patient_id=str(row["patient_id"]),
        type=PatientEventType(row["type"]),
        sequence=row["sequence"],
        actor_id=row["actor_id"],
        occur_time=row["occur_time"],
        receive_time=row["receive_time"],
    )
