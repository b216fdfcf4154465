"""Conditions whose plan does not depend on statistics, which may be of a time when a table was empty."""

from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, true

from services.common.postgres.paging import constant


def is_found(rows: Select[Any]) -> ColumnElement[bool]:
    """Returns the condition that a correlated subquery has a row. It is one lookup for each outer row.

    Postgres may answer EXISTS with a hash of the rows for all possible outer rows, and read a whole table for one. The
    subquery is not compared with null, because Postgres expects that few values are null, and would sort them all.
    """
    found = rows.with_only_columns(true()).limit(constant(1)).scalar_subquery()
    return func.coalesce(found, false())


def apply_last(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the condition in a form that no index supports, so it does not divert Postgres from a better index."""
    return condition.is_(true())
