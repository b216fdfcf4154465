"""The queries of ListPatients: one statement for each combination of filters and order, compiled on first use."""

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Boolean, Date, SmallInteger, bindparam, func, literal_column, select

from gen.pulsetrack.patient.v1 import ExportPatientsRequest, ListPatientsRequest
from services.common.errors import FieldsInvalid
from services.common.postgres.paging import Filter, Listing
from services.common.protobuf.violations import NOT_A_DATE
from services.common.text import normalize
from services.patient.domain import is_calendar_date
from services.patient.models import VISIBLE_PATIENTS, patients, select_message
from services.patient.search import EXAMINED, BoundedListing, measure_window, name_identifiers, name_patterns
from services.patient.search_statements import Condition, find_walked_columns, match_word
from services.patient.words import MAX_WORDS, build_patterns

_FILTERS: dict[str, Condition] = {
    "not_deleted": Condition("delete_time", lambda row: row.delete_time.is_(None)),
    "sex": Condition("sex", lambda row: row.sex == bindparam("sex", type_=SmallInteger)),
    "born_after": Condition("date_of_birth", lambda row: row.date_of_birth > bindparam("born_after", type_=Date)),
    "born_before": Condition("date_of_birth", lambda row: row.date_of_birth < bindparam("born_before", type_=Date)),
    "born_from": Condition(
        "date_of_birth",
        lambda row: func.greatest(row.date_of_birth, row.last_date_of_birth) >= bindparam("born_from", type_=Date),
    ),
    "born_from_year": Condition(
        "date_of_birth", lambda row: row.date_of_birth >= bindparam("born_from_year", type_=Date)
    ),
    "registered_after": Condition(
        "registered_date", lambda row: row.registered_date > bindparam("registered_after", type_=Date)
    ),
    "registered_before": Condition(
        "registered_date", lambda row: row.registered_date < bindparam("registered_before", type_=Date)
    ),
}
"""The conditions of filters, by the names of their parameters. `not_deleted` has no parameter."""

_DATE_FILTERS = ("born_after", "born_before", "registered_after", "registered_before")


CONCURRENT_SEARCHES = 2
"""The number of listings with a query, a filter or several sort fields that run at once. Each may read all patients."""

_DEFAULT_ORDER = "create_time desc"

Order: TypeAlias = tuple[tuple[str, bool], ...]
"""The names of the sort columns, and whether each is descending."""


def normalize_order(order_by: str, *, ranked: bool) -> str:
    """Returns the canonical form of an order (AIP-132), which is empty for the default order.

    Requests with the same order then have the same page tokens. If the default order ranks matches, a request for
    newest patients first differs from it.
    """
    if not order_by:
        return ""
    order = ",".join(f"{name} desc" if descending else name for name, descending in _parse_order(order_by))
    return "" if order == _DEFAULT_ORDER and not ranked else order


def _parse_order(order_by: str) -> Order:
    """Returns an order, with each field once. The proto validates the text."""
    order: dict[str, bool] = {}
    for field in (order_by or _DEFAULT_ORDER).split(","):
        name, *desc = field.split()
        order.setdefault(re.sub("([A-Z])", r"_\1", name).lower(), bool(desc))
    return tuple(order.items())


def build_listing(
    request: ListPatientsRequest, *, born_from: date | None = None
) -> tuple[Listing | BoundedListing, dict[str, Any]]:
    """Returns the listing that a request selects, and the values of its parameters. Raises FieldsInvalid.

    With `born_from`, it has only patients who may be born on this day or later.
    """
    if wrong := find_listing_violations(request):
        raise FieldsInvalid(wrong)
    values: dict[str, Any] = {name: date.fromisoformat(value) for name, value in _date_filters(request)}
    if request.sex:
        values["sex"] = int(request.sex)
    if born_from:  # an index answers the condition of the year, in which a period that ends on the day begins
        values |= {"born_from": born_from, "born_from_year": born_from.replace(month=1, day=1)}
    filters = frozenset({*values} if request.show_deleted else {*values, "not_deleted"})
    order = _parse_order(request.order_by)
    query, ranked = normalize(request.query), not request.order_by
    if not query:
        return _compile_listing(order, filters), values
    patterns = build_patterns(request.query)
    values |= name_patterns(patterns)
    words, searched = len(patterns.part), len(patterns.searched)
    if identifies := ranked and _can_identify(query):
        values |= name_identifiers(query)
    return _compile_search(order, filters, words, searched, ranked=ranked, identifies=identifies), values


def _can_identify(query: str) -> bool:
    """Returns whether a query can be an email address or a record number. Names rarely contain these characters."""
    return "@" in query or any(map(str.isdigit, query))


def find_listing_violations(request: ListPatientsRequest) -> dict[str, str]:
    """Returns the violations of filters that are not calendar dates, and of a query with too many words."""
    violations = find_date_violations(request)
    if len(build_patterns(request.query).part) > MAX_WORDS:
        violations["query"] = f"must have at most {MAX_WORDS} words"
    return violations


def find_date_violations(request: ListPatientsRequest | ExportPatientsRequest) -> dict[str, str]:
    """Returns the violations of filters that are not calendar dates."""
    return {name: NOT_A_DATE for name, value in _date_filters(request) if not is_calendar_date(value)}


def _date_filters(request: ListPatientsRequest | ExportPatientsRequest) -> Iterator[tuple[str, str]]:
    return ((name, value) for name in _DATE_FILTERS if (value := getattr(request, name)))


@lru_cache(maxsize=512)
def _compile_listing(order: Order, filters: frozenset[str]) -> Listing | BoundedListing:
    names, descending = _sort_columns(order)
    conditions = [_FILTERS[name] for name in sorted(filters)]
    unwalked = {each.column for each in conditions} - find_walked_columns(names)
    if unwalked - {"delete_time"}:
        return BoundedListing(names, descending, conditions)
    columns = [patients.c[name] for name in names]
    rows = VISIBLE_PATIENTS.where(*(each.test(patients.c) for each in conditions if each.column not in unwalked))
    if not unwalked:
        return Listing(rows.with_only_columns(*columns, select_message(patients.c)), *columns, descending=descending)
    # No index tells which patients are deleted.
    live = Filter(
        lambda row: select(*(row[name] for name in names), select_message(row)).where(row.delete_time.is_(None)),
        examined=EXAMINED * measure_window(names),
    )
    return Listing(rows, *columns, descending=descending, filtered=live)


@lru_cache(maxsize=512)
def _compile_search(
    order: Order, filters: frozenset[str], words: int, searched: int, *, ranked: bool, identifies: bool
) -> BoundedListing:
    names, descending = _sort_columns(order)
    conditions = [_FILTERS[name] for name in sorted(filters)]
    conditions += map(match_word, range(words))
    if not words:
        conditions.append(Condition(names[0], lambda _: literal_column("false", Boolean)))  # not simplified
    return BoundedListing(names, descending, conditions, searched=searched, ranked=ranked, identifies=identifies)


def _sort_columns(order: Order) -> tuple[list[str], list[bool]]:
    """Returns the names of the sort columns and their directions. The last one is the id, in the direction before."""
    names, directions = zip(*order, strict=True)
    return [*names, "id"], [*directions, directions[-1]]
