"""Guarded tables: tables of which a caller may read only some rows.

A guarded table names the parameter of the condition that selects these rows. Each part of a statement that reads the
table must have the condition itself, or declare that it sees all rows. A statement without either cannot be built.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Alias, ColumnClause, Delete, Select, SelectBase, Table, Update
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.visitors import ExternallyTraversible

VIEWER = "viewer"
"""The parameter with the current caller (see `current_viewer`). Statements set it themselves."""

_GUARD = "guard"
_SEES_ALL = "sees_all"

T = TypeVar("T", Select[Any], Update, Delete)


class UnguardedStatementError(Exception):
    """Raised when a statement reads a guarded table without its condition."""


def guard(parameter: str) -> dict[str, str]:
    """Returns the `info` of a table that is guarded by the condition with this parameter."""
    return {_GUARD: parameter}


def see_all(statement: T) -> T:
    """Returns a statement that may read all rows of guarded tables. The comment beside it says why."""
    return statement.execution_options(**{_SEES_ALL: True})


def iterate(
    statement: ExternallyTraversible, *, enters: Callable[[ExternallyTraversible], bool] = lambda _: True
) -> Iterator[ExternallyTraversible]:
    """Yields each element of a statement once, breadth-first. Elements that it does not enter have no children.

    SQLAlchemy's `iterate` yields an element for each of its parents. A statement whose subqueries share many elements
    then takes seconds.
    """
    seen = {id(statement): statement}  # keeps the elements alive, and so their ids unique
    following = deque([statement])
    while following:
        yield (element := following.popleft())
        if enters(element):
            new = {id(child): child for child in element.get_children() if id(child) not in seen}
            seen |= new
            following += new.values()


def check_guards(statement: ClauseElement) -> None:
    """Raises UnguardedStatementError if a part of a statement reads a guarded table without its condition."""
    for part in iterate(statement):
        if isinstance(part, Select | Update | Delete) and not part.get_execution_options().get(_SEES_ALL):
            _check_part(part)


def _check_part(part: Select[Any] | Update | Delete) -> None:
    where: Any = part.whereclause
    parameters = {} if where is None else {getattr(each, "key", None) for each in iterate(where)}
    for table in _find_tables(part):
        if (parameter := table.info.get(_GUARD)) and parameter not in parameters:
            raise UnguardedStatementError(f"a statement reads {table.name} without the parameter {parameter}")


def _find_tables(part: ExternallyTraversible) -> Iterator[Table]:
    """Yields the tables that a part of a statement names itself, not in a subquery, which is a part of its own."""
    for each in iterate(part, enters=lambda each: each is part or not isinstance(each, SelectBase)):
        match each:
            case Table():
                yield each
            case ColumnClause():
                table = each.table.element if isinstance(each.table, Alias) else each.table
                if isinstance(table, Table):
                    yield table
