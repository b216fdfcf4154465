"""The RPCs of the analytics service."""

from datetime import UTC, datetime

from asyncpg import Record

from gen.pulsetrack.analytics.v1 import (
    AnalyticsEvent,
    Bucket,
    DeadLetter,
    GetPatientStatisticsRequest,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ListPatientEventsRequest,
    ListPatientEventsResponse,
    PatientEventType,
    PatientStatistics,
    ReplayDeadLetterRequest,
    StatisticsBucket,
)
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from services.analytics.checks import StatisticsChecks
from services.analytics.dead_letters import describe_error
from services.analytics.domain import find_period_violations, parse_event, resolve_period, summarize_patients
from services.analytics.errors import DeadLetterNotFound, DeadLetterUnreplayable
from services.analytics.event_store import EVENT_ERRORS, insert_events
from services.analytics.models import (
    GET_DEAD_LETTER,
    LIST_DEAD_LETTERS,
    LIST_EVENTS,
    MARK_DEAD_LETTER_REPLAYED,
    RECORD_FAILED_REPLAY,
    SEARCH,
)
from services.analytics.statistics import COUNT_EVENTS, COUNT_PATIENTS
from services.common.audit.events import record_change, record_read
from services.common.errors import FieldsInvalid
from services.common.patient_access import FindAccess, VisibleRows
from services.common.postgres.database import Database

_UNITS = {Bucket.UNSPECIFIED: "day", Bucket.DAY: "day", Bucket.WEEK: "week", Bucket.MONTH: "month"}


class AnalyticsService:
    """Lists patient events and dead letters, and computes statistics."""

    checks = StatisticsChecks()

    def __init__(self, db: Database, find_access: FindAccess) -> None:
        """Takes the database, and a function that finds the restricted patients that a caller may see."""
        self._db = db
        self._visible = VisibleRows(db, find_access)

    async def list_patient_events(self, request: ListPatientEventsRequest) -> ListPatientEventsResponse:
        """Returns a page of events, newest first.

        Raises PageTokenInvalid, DependencyUnavailable.
        """
        listing = LIST_EVENTS[bool(request.patient_id), bool(request.type)]
        rows, next_page_token = await listing.read_page(
            self._visible, request, patient_id=request.patient_id, type=int(request.type)
        )
        record_read(dict.fromkeys(row["patient_id"] for row in rows))
        return ListPatientEventsResponse(events=[_to_event(row) for row in rows], next_page_token=next_page_token)

    async def get_patient_statistics(self, request: GetPatientStatisticsRequest) -> PatientStatistics:
        """Counts the events of a period, and the current patients, including those that the caller may not see.

        Raises FieldsInvalid if the period starts after its end.
        """
        now = datetime.now(UTC)
        start, end = resolve_period(request.start, request.end, now=now)
        if violations := find_period_violations(start, end):
            raise FieldsInvalid(violations)
        async with self._db.begin() as tx:
            rows = await tx.rows(COUNT_EVENTS, bucket=_UNITS[request.bucket], start=start, end=end)
            patients = await tx.rows(COUNT_PATIENTS, today=now.date())
        return PatientStatistics(
            buckets=[StatisticsBucket(**row) for row in rows],
            as_of_time=now,
            **summarize_patients(patients),
        )

    async def list_dead_letters(self, request: ListDeadLettersRequest) -> ListDeadLettersResponse:
        """Returns a page of dead letters, newest first.

        Raises PageTokenInvalid.
        """
        rows, next_page_token = await LIST_DEAD_LETTERS.read_page(self._db, request)
        return ListDeadLettersResponse(
            dead_letters=[_to_dead_letter(row) for row in rows], next_page_token=next_page_token
        )

    async def replay_dead_letter(self, request: ReplayDeadLetterRequest) -> DeadLetter:
        """Stores a dead letter as an event. Repeating a successful replay has no effect.

        Raises DeadLetterNotFound, DeadLetterUnreplayable.
        """
        row = await self._db.row(GET_DEAD_LETTER, letter_id=request.id)
        if row is None:
            raise DeadLetterNotFound
        if row["replay_time"]:
            return _to_dead_letter(row)
        try:
            event = parse_event(row["key"], row["value"], now=datetime.now(UTC))
            async with self._db.begin() as tx:
                await insert_events(tx, [event])
                record_change(tx, event["patient_id"])
                return _to_dead_letter(await tx.row(MARK_DEAD_LETTER_REPLAYED, letter_id=request.id))
        except EVENT_ERRORS as error:
            await self._db.row(RECORD_FAILED_REPLAY, letter_id=request.id, why=describe_error(error))
            raise DeadLetterUnreplayable from error

    async def search_analytics_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)


def _to_event(row: Record) -> AnalyticsEvent:
    return AnalyticsEvent(
        event_id=str(row["event_id"]),
        patient_id=str(row["patient_id"]),
        type=PatientEventType(row["type"]),
        sequence=row["sequence"],
        actor_id=row["actor_id"],
        occur_time=row["occur_time"],
        receive_time=row["receive_time"],
    )


def _to_dead_letter(row: Record) -> DeadLetter:
    return DeadLetter(
        id=str(row["id"]),
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        event_id=row["event_id"],
        reason=row["reason"],
        attempts=row["attempts"],
        receive_time=row["receive_time"],
        replay_time=row["replay_time"],
    )
