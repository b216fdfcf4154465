"""The queries of ListPatients: one statement for each combination of filters and order, compiled on first use."""

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Date, SmallInteger, bindparam, select

from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.common.errors import FieldsInvalid
from services.common.postgres.paging import Listing
from services.common.protobuf.violations import NOT_A_DATE
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


_DEFAULT_ORDER = "create_time desc"

Order: TypeAlias = tuple[tuple[str, bool], ...]
"""The names of the sort columns, and whether each is descending."""


def normalize_order(order_by: str) -> str:
    """Returns the canonical form of an order (AIP-132), which is empty for the default order.

    Requests with the same order then have the same page tokens.
    """
    order = ",".join(f"{name} desc" if descending else name for name, descending in _parse_order(order_by))
    return "" if order == _DEFAULT_ORDER else order


def _parse_order(order_by: str) -> Order:
    """Returns an order, with each field once. The proto validates the text."""
    order: dict[str, bool] = {}
    for field in (order_by or _DEFAULT_ORDER).split(","):
        name, *desc = field.split()
        order.setdefault(re.sub("([A-Z])", r"_\1", name).lower(), bool(desc))
    return tuple(order.items())


def build_listing(request: ListPatientsRequest) -> tuple[Listing, dict[str, Any]]:
    """Returns the listing that a request selects, and the values of its parameters. Raises FieldsInvalid."""
    if wrong := find_date_violations(request):
        raise FieldsInvalid(wrong)
    values: dict[str, Any] = {name: date.fromisoformat(value) for name, value in _date_filters(request)}
    if request.query:
        values["pattern"] = build_like_pattern(request.query)
    if request.sex:
        values["sex"] = int(request.sex)
    conditions = frozenset(values) if request.show_deleted else frozenset((*values, "not_deleted"))
    return _compile_listing(_parse_order(request.order_by), conditions), values


def find_date_violations(request: ListPatientsRequest) -> dict[str, str]:
    """Returns the violations of filters that are not calendar dates."""
    return {name: NOT_A_DATE for name, value in _date_filters(request) if not is_calendar_date(value)}


def _date_filters(request: ListPatientsRequest) -> Iterator[tuple[str, str]]:
    return ((name, value) for name in _DATE_FILTERS if (value := getattr(request, name)))


@lru_cache(maxsize=512)
def _compile_listing(order: Order, conditions: frozenset[str]) -> Listing:
    directions = [descending for _, descending in order]
    rows = select(patients).where(*(_CONDITIONS[condition] for condition in sorted(conditions)))
    return Listing(rows, *(_row[name] for name, _ in order), _row.id, descending=[*directions, directions[-1]])
