"""Reads how Postgres executes the statements of a program."""

import json
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, NamedTuple

from asyncpg import Record

from services.common.postgres.database import Database
from services.common.postgres.statement import Statement

Node = dict[str, Any]
"""A node of a plan. The topmost node of a statement has the key `is_root`."""


class PlanSummary(NamedTuple):
    """How Postgres executes the statements of a read."""

    statements: int
    rows: int
    """The maximum number of rows that a node of a plan reads."""
    indexes: Sequence[str]
    scanned: Sequence[str]
    """The tables that are read from their beginning."""


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
        self._nodes += list_nodes(explained["Plan"] | {"is_root": True})
        return await super().rows(statement, **values)


def count_rows(node: Node) -> int:
    """Returns the number of rows that a node of a plan has read, including those that it has not returned."""
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def summarize_plans(nodes: Sequence[Node]) -> PlanSummary:
    """Returns how Postgres executed the statements of a read."""
    nodes = [node for node in nodes if node["Actual Loops"]]
    return PlanSummary(
        statements=sum("is_root" in node for node in nodes),
        rows=max(map(count_rows, nodes), default=0),
        indexes=sorted({node["Index Name"] for node in nodes if "Index Name" in node}),
        scanned=sorted({node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}),
    )


def list_nodes(node: Node) -> Iterator[Node]:
    """Yields the nodes of a plan."""
    yield node
    for child in node.get("Plans", ()):
        yield from list_nodes(child)
