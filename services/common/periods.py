"""Dates of which only the year or the month may be known: each is a period of days.

Two periods have no common day, or one contains the other: the text of the other then begins with its text.
"""

from calendar import monthrange
from datetime import date
from typing import NamedTuple

_DAY, _MONTH = len("YYYY-MM-DD"), len("YYYY-MM")


class Period(NamedTuple):
    """The days from the first to the last one."""

    first: date
    last: date

    def contains(self, other: "Period") -> bool:
        """Returns whether all days of another period are in this one."""
        return self.first <= other.first and other.last <= self.last


def parse_period(text: str) -> Period:
    """Returns the days of a date, month or year: YYYY-MM-DD, YYYY-MM or YYYY. Raises ValueError."""
    first = parse_first_day(text)
    if not is_partial(text):
        return Period(first, first)
    month = first.month if len(text) == _MONTH else 12
    return Period(first, date(first.year, month, monthrange(first.year, month)[1]))


def is_partial(text: str) -> bool:
    """Returns whether a date is a year or a month."""
    return len(text) < _DAY


def first_day(text: str) -> str:
    """Returns the first day of a date, month or year, as YYYY-MM-DD."""
    return f"{text}-01-01"[: max(_DAY, len(text))]


def parse_first_day(text: str) -> date:
    """Returns the first day of a date, month or year. Raises ValueError."""
    return date.fromisoformat(first_day(text))


def format_period(first: date, last: date | None) -> str:
    """Returns the text of a period from its first day, and its last one unless it is a day.

    If the days are those of no month and no year, returns the first one: the previous version changes only that.
    """
    day = first.isoformat()
    if last is None:
        return day
    return next((text for text in (day[:4], day[:_MONTH]) if parse_period(text) == (first, last)), day)
