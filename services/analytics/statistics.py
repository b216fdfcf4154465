"""The statements of GetPatientStatistics. They read counts of whole days and months, and rows only at the edges."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.sql.functions import sum as sum_of

from gen.pulsetrack.analytics.v1 import PatientEventType
from services.analytics.domain import AGE_BAND_COUNT, AGE_BAND_YEARS
from services.analytics.models import event_counts, events, patient_counts, patients
from services.common.postgres.statement import Statement

_ADDED: ColumnElement[int] = literal_column("1")
_REMOVED: ColumnElement[int] = literal_column("-1")


def _utc(time: ColumnElement[Any]) -> ColumnElement[Any]:
    """Converts a time to a timestamp without time zone in UTC, or such a timestamp to a time."""
    return func.timezone(literal_column("'UTC'"), time)


def _start_of(unit: str, time: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.date_trunc(literal_column(f"'{unit}'"), time)


_start, _end = (bindparam(name, type_=DateTime(timezone=True)) for name in ("start", "end"))
_first_day = _start_of("day", _utc(_start))
_last_day = _start_of("day", _utc(_end) - text("interval '1 microsecond'"))

_days = select(event_counts.c.day, event_counts.c.type, event_counts.c.count).where(
    event_counts.c.day >= _first_day, event_counts.c.day <= _last_day
)
_events = select(cast(_utc(events.c.occur_time), Date), events.c.type, _REMOVED)
_counted = union_all(
    _days,
    _events.where(events.c.occur_time >= _utc(_first_day), events.c.occur_time < _start),
    _events.where(events.c.occur_time >= _end, events.c.occur_time < _utc(_last_day + text("interval '1 day'"))),
).subquery()
"""The counts of all days that overlap the period, without the events of these days that are outside of it."""


def _count_type(kind: PatientEventType, name: str) -> ColumnElement[int]:
    count = sum_of(_counted.c.count).filter(_counted.c.type == int(kind))
    return cast(func.coalesce(count, 0), BigInteger).label(name)


COUNT_EVENTS = Statement(
    select(
        _utc(func.date_trunc(bindparam("bucket", type_=Text), cast(_counted.c.day, DateTime))).label("start_time"),
        _count_type(PatientEventType.CREATED, "registrations"),
        _count_type(PatientEventType.UPDATED, "updates"),
        _count_type(PatientEventType.DELETED, "deletions"),
    )
    .group_by(literal_column("1"))
    .having(sum_of(_counted.c.count) > 0)
    .order_by(literal_column("1"))
)
"""Counts the events of a period by bucket. Buckets without events are left out."""

_today = cast(bindparam("today", type_=Date), DateTime)
_ages = func.generate_series(AGE_BAND_YEARS, AGE_BAND_YEARS * (AGE_BAND_COUNT - 1), AGE_BAND_YEARS).column_valued("age")
_birthdays = select((_today - func.make_interval(_ages)).label("birthday")).cte("birthdays")
"""The last day of birth of each age band but the youngest."""

_is_younger = patients.c.date_of_birth > _birthdays.c.birthday
_is_in_month = patients.c.date_of_birth < _start_of("month", _birthdays.c.birthday) + text("interval '1 month'")
_younger = (
    select(patients.c.deleted, patients.c.sex, patients.c.date_of_birth)
    .join_from(_birthdays, patients, _is_younger & _is_in_month)
    .cte("younger")
)
"""The patients who are in another band than those born on the first day of the same month."""

_month_of_birth = cast(_start_of("month", cast(_younger.c.date_of_birth, DateTime)), Date)
_born = union_all(
    select(
        patient_counts.c.deleted,
        patient_counts.c.sex,
        patient_counts.c.birth_month.label("day"),
        patient_counts.c.count,
    ),
    select(_younger, _ADDED),
    select(_younger.c.deleted, _younger.c.sex, _month_of_birth, _REMOVED),
).subquery()
"""Counts of patients by a day of birth that is in the right age band."""

_years = func.date_part("year", func.age(_today, cast(_born.c.day, DateTime)))
COUNT_PATIENTS = Statement(
    select(
        _born.c.deleted,
        _born.c.sex,
        # The number of the age band, starting at 1; 0 for a future date of birth, NULL for an unknown one.
        func.width_bucket(_years, 0, AGE_BAND_YEARS * (AGE_BAND_COUNT - 1), AGE_BAND_COUNT - 1).label("band"),
        cast(sum_of(_born.c.count), BigInteger).label("count"),
    )
    .group_by(literal_column("1"), literal_column("2"), literal_column("3"))
    .having(sum_of(_born.c.count) > 0)
)
"""Counts patients in one statement, which makes all totals consistent."""
