"""The queries of ListPatients: one statement for each combination of filters and order, compiled on first use."""

from datetime import date
from functools import lru_cache
from typing import Any

from sqlalchemy import Date, SmallInteger, bindparam, select

from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.common.errors import FieldsInvalid
from services.common.postgres.paging import Listing
from services.common.text import build_like_pattern
from services.patient.domain import is_calendar_date
from services.patient.models import patients

_row = patients.c
_CONDITIONS = {
    "not_deleted": _row.delete_time.is_(None),
    "pattern": _row.search_key.like(bindparam("pattern"), escape="\\"),
    "sex": _row.sex == bindparam("sex", type_=SmallInteger),
    "born_after": _row.date_of_birth > bindparam("born_after", type_=Date),
    "born_before": _row.date_of_birth < bindparam("born_before", type_=Date),
    "registered_after": _row.registered_date > bindparam("registered_after", type_=Date),
    "registered_before": _row.registered_date < bindparam("registered_before", type_=Date),
}
"""The conditions of a listing, by the names of their parameters. `not_deleted` has no parameter."""

_DATE_FILTERS = ("born_after", "born_before", "registered_after", "registered_before")


def build_listing(request: ListPatientsRequest) -> tuple[Listing, dict[str, Any]]:
    """Returns the listing that a request selects, and the values of its parameters. Raises FieldsInvalid."""
    values: dict[str, Any] = _parse_dates(request)
    if request.query:
        values["pattern"] = build_like_pattern(request.query)
    if request.sex:
        values["sex"] = int(request.sex)
    conditions = frozenset(values) if request.show_deleted else frozenset((*values, "not_deleted"))
    return _compile_listing(request.order_by or "create_time desc", conditions), values


def _parse_dates(request: ListPatientsRequest) -> dict[str, date]:
    given = {name: value for name in _DATE_FILTERS if (value := getattr(request, name))}
    if wrong := {name: "is not a calendar date" for name, value in given.items() if not is_calendar_date(value)}:
        raise FieldsInvalid(wrong)
    return {name: date.fromisoformat(value) for name, value in given.items()}


@lru_cache(maxsize=512)
def _compile_listing(order_by: str, conditions: frozenset[str]) -> Listing:
    name, _, direction = order_by.partition(" ")
    rows = select(patients).where(*(_CONDITIONS[condition] for condition in sorted(conditions)))
    return Listing(rows, _row[name], _row.id, descending=direction == "desc")
