"""Which patients a list holds, in which order: a statement for each combination, made when it is first asked for."""

from datetime import date
from functools import lru_cache
from typing import Any

from sqlalchemy import Date, SmallInteger, bindparam, select

from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.common.errors import FieldsInvalid
from services.common.postgres.paging import Listing
from services.common.text import like_pattern
from services.patient.models import patients
from services.patient.records import is_day

_row = patients.c
_CONDITIONS = {
    "in_use": _row.delete_time.is_(None),
    "pattern": _row.search_key.like(bindparam("pattern"), escape="\\"),
    "sex": _row.sex == bindparam("sex", type_=SmallInteger),
    "born_after": _row.date_of_birth > bindparam("born_after", type_=Date),
    "born_before": _row.date_of_birth < bindparam("born_before", type_=Date),
    "registered_after": _row.registered_date > bindparam("registered_after", type_=Date),
    "registered_before": _row.registered_date < bindparam("registered_before", type_=Date),
}
"""What a list may be restricted to, each by the name of its parameter if it has one."""

_DAYS = ("born_after", "born_before", "registered_after", "registered_before")


def listed(request: ListPatientsRequest) -> tuple[Listing, dict[str, Any]]:
    """Returns the listing that a request asks for, and the values of its parameters. Raises FieldsInvalid."""
    values: dict[str, Any] = _days(request)
    if request.query:
        values["pattern"] = like_pattern(request.query)
    if request.sex:
        values["sex"] = int(request.sex)
    conditions = frozenset(values) if request.show_deleted else frozenset((*values, "in_use"))
    return _listing(request.order_by or "create_time desc", conditions), values


def _days(request: ListPatientsRequest) -> dict[str, date]:
    given = {name: day for name in _DAYS if (day := getattr(request, name))}
    if wrong := {name: "is not a day of the calendar" for name, day in given.items() if not is_day(day)}:
        raise FieldsInvalid(wrong)
    return {name: date.fromisoformat(day) for name, day in given.items()}


@lru_cache(maxsize=512)
def _listing(order_by: str, conditions: frozenset[str]) -> Listing:
    name, _, direction = order_by.partition(" ")
    rows = select(patients).where(*(_CONDITIONS[condition] for condition in sorted(conditions)))
    return Listing(rows, _row[name], _row.id, descending=direction == "desc")
