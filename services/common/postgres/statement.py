"""SQLAlchemy Core statements, compiled once to the SQL and the arguments that asyncpg takes."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql import ClauseElement

from services.common.context import current_viewer
from services.common.postgres.guards import VIEWER, check_guards, iterate

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_PLACEHOLDER = re.compile(r"\$(\d+)")


class Statement:
    """A Core statement, compiled to SQL and the order of its arguments."""

    def __init__(self, statement: ClauseElement) -> None:
        """Raises UnguardedStatementError if the statement reads a guarded table without its condition."""
        check_guards(statement)
        compiled = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}
        self.order: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        """The names of the parameters."""
        self._has_viewer = VIEWER in self.order
        operation = statement.__visit_name__.upper()
        tables = dict.fromkeys(str(each.name) for each in iterate(statement) if isinstance(each, Table))
        self.summary = " ".join((operation, *tables))
        self.attributes = {
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.query.summary": self.summary,
        }
        if len(tables) == 1:
            self.attributes["db.collection.name"] = next(iter(tables))

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns the values in the order of the statement's parameters. Raises KeyError for a missing value."""
        if self._defaults:
            values = self._defaults | values  # type: ignore[operator]
        if self._has_viewer:
            values = {**values, VIEWER: current_viewer()}
        return [values[name] for name in self.order]


class CombinedStatement:
    """Statements without results that run as one, in one round trip: all or none.

    All but the last run in a WITH clause. Postgres gives none of them the effects of another.
    """

    def __init__(self, statements: Sequence[Statement]) -> None:
        self._statements = statements
        parts = []
        count = 0
        for statement in statements:
            parts.append(_number_from(count, statement.sql))
            count += len(statement.order)
        *steps, last = parts
        clauses = ", ".join(f"step_{number} AS ({step})" for number, step in enumerate(steps))
        self.sql = f"WITH {clauses} {last}" if steps else last
        self.summary = ", ".join(statement.summary for statement in statements)
        self.attributes = {"db.system.name": "postgresql", "db.query.summary": self.summary}

    def arguments(self, values: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Returns the arguments for the values of each statement. Raises KeyError for a missing value."""
        pairs = zip(self._statements, values, strict=True)
        return [argument for statement, each in pairs for argument in statement.arguments(each)]


@cache
def combine(statements: tuple[Statement, ...]) -> CombinedStatement:
    """Returns the combination of statements. Builds it once."""
    return CombinedStatement(statements)


def _number_from(count: int, sql: str) -> str:
    return _PLACEHOLDER.sub(lambda match: f"${int(match[1]) + count}", sql)
