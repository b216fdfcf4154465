"""The plans of statements with statistics of a time when the tables were empty."""

from services.auth.login_limits import _PRUNE
from tests.harness.background import Background
from tests.harness.plans import count_rows_of_kept_plan
from tests.harness.sql import Sql

COUNT = 3000
FILL = (
    "INSERT INTO failed_logins (digest, times, expire_time)"
    f" SELECT number::text::bytea, '{{}}', now() + interval '1 h' FROM generate_series(1, {COUNT}) AS number"
)


def test_failed_login_reads_no_other_failed_logins(background: Background, sql: Sql, database_url: str) -> None:
    for statement in ("ALTER TABLE failed_logins SET (autovacuum_enabled = off)", "VACUUM ANALYZE failed_logins", FILL):
        sql(statement)
    assert background.run(count_rows_of_kept_plan(database_url, _PRUNE))["failed_logins"] < 20
