"""Reads how Postgres executes a statement with a plan that it keeps for all values."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import asyncpg

from bench.growth.plans import count_rows, list_nodes
from services.common.postgres.statement import Statement


async def count_rows_of_kept_plan(url: str, statement: Statement, **values: Any) -> Mapping[str, int]:
    """Runs a statement, and returns the number of rows that its plan reads, by table."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE kept AS {statement.sql}")
        arguments = ", ".join(map(_quote, statement.arguments(values)))
        execute = f"EXECUTE kept({arguments})" if arguments else "EXECUTE kept"
        [explained] = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}"))
    finally:
        await connection.close()
    counts: Counter[str] = Counter()
    for node in list_nodes(explained["Plan"]):
        if "Relation Name" in node:
            counts[node["Relation Name"]] += count_rows(node)
    return counts


def _quote(value: object) -> str:
    return f"'{{{','.join(map(str, value))}}}'" if isinstance(value, list) else f"'{value}'"
