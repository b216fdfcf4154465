"""Reads how Postgres executes the statements of a program."""

import json
from collections.abc import Awaitable, Iterator
from typing import Any

from asyncpg import Record

from services.common.postgres.database import Database
from services.common.postgres.statement import Statement

Node = dict[str, Any]


class ExplainedDatabase(Database):
    """A database that also explains the statements that it runs by themselves."""

    def __init__(self, url: str) -> None:
        super().__init__(url, connections=1)
        self._nodes: list[Node] = []

    async def explain(self, read: Awaitable[object]) -> list[Node]:
        """Returns the nodes of the plans of a read's statements, with the rows that each has read."""
        self._nodes = []
        await read
        return self._nodes

    async def rows(self, statement: Statement, /, **values: Any) -> list[Record]:
        """Runs one statement and returns its rows."""
        async with self._connection() as connection:
            sql = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement.sql}"
            [explained] = json.loads(await connection.fetchval(sql, *statement.arguments(values)))
        self._nodes += _list_nodes(explained["Plan"])
        return await super().rows(statement, **values)


def count_rows(node: Node) -> int:
    """Returns the number of rows that a node of a plan has read, including those that it has not returned."""
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def _list_nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _list_nodes(child)
