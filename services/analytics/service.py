"""The RPCs of analytics."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncpg import Record

from gen.pulsetrack.analytics.v1 import (
    AgeBand,
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
    SexCount,
    StatisticsBucket,
)
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.patient.v1 import Sex
from services.analytics.dead_letters import reason_of
from services.analytics.errors import DeadLetterNotFound, DeadLetterUnreplayable
from services.analytics.event_store import UNSTORABLE, event_row, insert_events
from services.analytics.models import (
    BAND_YEARS,
    BANDS,
    COUNT_EVENTS,
    COUNT_PATIENTS,
    DEAD_LETTER_REFUSED,
    DEAD_LETTER_REPLAYED,
    GET_DEAD_LETTER,
    LIST_DEAD_LETTERS,
    LIST_EVENTS,
    LIST_EVENTS_OF_PATIENT,
    SEARCH,
)
from services.common.audit.events import record_change, record_read
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database

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
        rows, next_page_token = await listing.read_page(
            self._db, request, patient_id=request.patient_id, type=int(request.type)
        )
        record_read(dict.fromkeys(row["patient_id"] for row in rows))
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
            patients = await tx.rows(COUNT_PATIENTS, today=now.date())
        return PatientStatistics(
            buckets=[StatisticsBucket(**row) for row in rows],
            as_of_time=now,
            **_population(patients),
        )

    async def list_dead_letters(self, request: ListDeadLettersRequest) -> ListDeadLettersResponse:
        """Returns a page of dead letters, newest first.

        Raises PageTokenInvalid.
        """
        rows, next_page_token = await LIST_DEAD_LETTERS.read_page(self._db, request)
        return ListDeadLettersResponse(dead_letters=[_letter(row) for row in rows], next_page_token=next_page_token)

    async def replay_dead_letter(self, request: ReplayDeadLetterRequest) -> DeadLetter:
        """Stores a dead letter as an event, unless an earlier replay has.

        Raises DeadLetterNotFound, DeadLetterUnreplayable.
        """
        row = await self._db.row(GET_DEAD_LETTER, letter_id=request.id)
        if row is None:
            raise DeadLetterNotFound
        if row["replay_time"]:
            return _letter(row)
        try:
            event = event_row(row["key"], row["value"])
            async with self._db.begin() as tx:
                await insert_events(tx, [event])
                await record_change(tx, event["patient_id"])
                return _letter(await tx.row(DEAD_LETTER_REPLAYED, letter_id=request.id))
        except UNSTORABLE as error:
            await self._db.row(DEAD_LETTER_REFUSED, letter_id=request.id, why=reason_of(error))
            raise DeadLetterUnreplayable from error

    async def search_analytics_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)


def _population(rows: Iterable[Record]) -> dict[str, Any]:
    """Returns how many patients there are, and of what sex and age, from the counts of each combination."""
    patients, sexes, bands = Counter[bool](), Counter[int](), Counter[int]()
    for row in rows:
        patients[row["deleted"]] += row["count"]
        if not row["deleted"]:
            sexes[row["sex"]] += row["count"]
            if row["band"] is not None:
                bands[max(row["band"], 1)] += row["count"]
    return {
        "total_patients": patients[False],
        "total_deleted": patients[True],
        "sexes": [SexCount(sex=Sex(sex), count=count) for sex, count in sorted(sexes.items())],
        "age_bands": [_age_band(band, count) for band, count in sorted(bands.items())],
    }


def _age_band(number: int, count: int) -> AgeBand:
    """Returns the band of a number, from 1."""
    from_age = BAND_YEARS * (number - 1)
    return AgeBand(from_age=from_age, to_age=0 if number == BANDS else from_age + BAND_YEARS - 1, count=count)


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


def _letter(row: Record) -> DeadLetter:
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
