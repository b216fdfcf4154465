"""The plan of a relay with statistics of a time when no row waited, as they are before a large import."""

import json
from datetime import UTC, datetime

from bench.growth.plans import list_nodes
from services.common.messaging.relay import Deliveries
from services.patient.models import outbox_rows
from tests.harness.sql import Sql

COUNT = 1000
ADD = """INSERT INTO outbox (destination, event_id, key, type, payload, traceparent)
    SELECT 'test', gen_random_uuid(), gen_random_uuid()::text, '', '', '' FROM generate_series(1, $1)"""
MARK = Deliveries(outbox_rows).mark_delivered
LEASE_END = datetime(2030, 1, 1, tzinfo=UTC)


def test_relay_looks_up_the_rows_of_a_key_only(sql: Sql) -> None:
    sql("ALTER TABLE outbox SET (autovacuum_enabled = off)")
    sql(ADD, COUNT)
    sql("UPDATE outbox SET delivered_time = now()")
    sql("VACUUM ANALYZE outbox")
    sql(ADD, COUNT)
    rows = sql("UPDATE outbox SET due_time = $1 WHERE delivered_time IS NULL RETURNING id", LEASE_END)
    arguments = MARK.arguments({"ids": [row["id"] for row in rows][:100], "lease_end": LEASE_END})
    [[plan]] = sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {MARK.sql}", *arguments)
    [lookup] = [each for each in list_nodes(json.loads(plan)[0]["Plan"]) if each.get("Alias") == "later"]
    assert lookup["Actual Loops"] == 100
    assert lookup.get("Rows Removed by Filter", 0) < 10
