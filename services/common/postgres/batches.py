"""Statements on many rows at once, which are passed as one array for each column."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Select, TableValuedAlias, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on


def unnest_rows(columns: Sequence[Column[Any]]) -> TableValuedAlias:
    """Returns the rows of a batch as a table with these columns. Each column's name is that of its array parameter."""
    arrays = (bindparam(each.name, type_=ARRAY(each.type)) for each in columns)
    return func.unnest(*arrays).table_valued(*(column(each.name, each.type) for each in columns)).render_derived()


def select_last(columns: Sequence[Column[Any]], *, key: str, order: str) -> Select[Any]:
    """Returns the last row of each key in a batch, for an upsert, which can change a row only once.

    The rows are sorted by key. Concurrent upserts therefore lock rows in the same order and do not deadlock.
    """
    rows = unnest_rows(columns)
    return select(rows).ext(distinct_on(rows.c[key])).order_by(rows.c[key], rows.c[order].desc())


def to_arrays(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Returns the values of each of the named columns of a batch's rows, in the order of the rows."""
    return {name: [row[name] for row in rows] for name in names}
