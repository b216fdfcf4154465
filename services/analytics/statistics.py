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
from services.analytics.models import birthday_counts, event_counts, events, patient_counts
from services.common.postgres.guards import see_all
from services.common.postgres.statement import Statement

_REMOVED: ColumnElement[int] = literal_column("-1")


def _utc(time: ColumnElement[Any]) -> ColumnElement[Any]:
    """Converts a time to a timestamp without time zone in UTC, or such a timestamp to a time."""
    return func.timezone(literal_column("'UTC'"), time)


def _timestamp(day: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(day, DateTime)


def _start_of(unit: str, time: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.date_trunc(literal_column(f"'{unit}'"), time)


_start, _end = (bindparam(name, type_=DateTime(timezone=True)) for name in ("start", "end"))
_first_day = _start_of("day", _utc(_start))
_last_day = _start_of("day", _utc(_end) - text("interval '1 microsecond'"))

_days = select(event_counts.c.day, event_counts.c.type, event_counts.c.count).where(
    event_counts.c.day >= _first_day, event_counts.c.day <= _last_day
)
_events = see_all(select(cast(_utc(events.c.occur_time), Date), events.c.type, _REMOVED))  # counts all patients
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
        _utc(func.date_trunc(bindparam("bucket", type_=Text), _timestamp(_counted.c.day))).label("start_time"),
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
_oldest = AGE_BAND_YEARS * (AGE_BAND_COUNT - 1)
_ages = func.generate_series(_oldest, AGE_BAND_YEARS, -AGE_BAND_YEARS).column_valued("age")
_birthdays = select(cast(_today - func.make_interval(_ages), Date).label("birthday")).cte("birthdays")
"""The last day of birth of each age band but the youngest, in ascending order."""

_next_month = _start_of("month", _timestamp(_birthdays.c.birthday)) + text("interval '1 month'")
_is_later = birthday_counts.c.date_of_birth > _birthdays.c.birthday
_is_in_month = birthday_counts.c.date_of_birth < _next_month
_younger = select(birthday_counts).join_from(_birthdays, birthday_counts, _is_later & _is_in_month).cte("younger")
"""Counts of the patients who are in another band than those born on the first day of the same month."""

_month_of_birth = cast(_start_of("month", _timestamp(_younger.c.date_of_birth)), Date)
_months = (patient_counts.c.birth_month.label("day"), patient_counts.c.count)
_born = union_all(
    select(patient_counts.c.deleted, patient_counts.c.sex, *_months),
    select(_younger.c.deleted, _younger.c.sex, _younger.c.date_of_birth, _younger.c.count),
    select(_younger.c.deleted, _younger.c.sex, _month_of_birth, -_younger.c.count),
).subquery()
"""Counts of patients by a day of birth that is in the right age band."""

_last_days = func.array(select(_birthdays.c.birthday).scalar_subquery())
_band = AGE_BAND_COUNT - func.width_bucket(_born.c.day - literal_column("1"), _last_days)
"""The number of the age band, starting at 1. NULL for an unknown date of birth."""

COUNT_PATIENTS = Statement(
    select(
        _born.c.deleted,
        _born.c.sex,
        _band.label("band"),
        cast(sum_of(_born.c.count), BigInteger).label("count"),
    )
    .group_by(literal_column("1"), literal_column("2"), literal_column("3"))
    .having(sum_of(_born.c.count) > 0)
)
"""Counts patients in one statement, which makes all totals consistent."""
