"""Adds counts of the events of each day and of the patients by state, and the indexes that statistics and lists need.

Triggers keep the counts, so they include the rows that the previous version writes during an upgrade.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ADD_EVENTS = """
    INSERT INTO public.event_counts AS counts (day, type, count)
    SELECT timezone('UTC', occur_time)::date, type, sum(number) FROM ({rows}) AS changed GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (day, type) DO UPDATE SET count = counts.count + excluded.count
"""
"""Locks rows in order, so concurrent transactions do not deadlock."""

_ADD_PATIENTS = """
    INSERT INTO public.patient_counts AS counts (deleted, sex, birth_month, count)
    SELECT deleted, sex, date_trunc('month', date_of_birth::timestamp)::date, sum(number)
    FROM ({rows}) AS changed GROUP BY 1, 2, 3 HAVING sum(number) <> 0
    ON CONFLICT (deleted, sex, birth_month) DO UPDATE SET count = counts.count + excluded.count
"""
_ADD_BIRTHDAYS = """
    INSERT INTO public.birthday_counts AS counts (date_of_birth, deleted, sex, count)
    SELECT date_of_birth, deleted, sex, sum(number)
    FROM ({rows}) AS changed WHERE date_of_birth IS NOT NULL GROUP BY 1, 2, 3 HAVING sum(number) <> 0
    ON CONFLICT (date_of_birth, deleted, sex) DO UPDATE SET count = counts.count + excluded.count
"""

_LOCK_PATIENT_COUNTS = """
    IF NOT EXISTS (SELECT FROM {table}) THEN RETURN NULL; END IF;
    PERFORM pg_advisory_xact_lock(7081303);
"""
"""Prevents deadlocks between upserts, each of which runs two of the triggers."""

_FUNCTION = """
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN {statements}; RETURN NULL; END $$
"""
"""The function runs as the owner of the tables, because the role of the service cannot change the counts.

Names of tables contain the schema, because the role of the service chooses the search path.
"""

_TRIGGER = """
    CREATE TRIGGER {name} AFTER {operation} ON {table} REFERENCING {transition_tables}
    FOR EACH STATEMENT EXECUTE FUNCTION {name}()
"""

_NEW, _OLD = "SELECT *, 1 AS number FROM new_rows", "SELECT *, -1 AS number FROM old_rows"
_OPERATIONS = {
    "INSERT": (_NEW, "NEW TABLE AS new_rows"),
    "UPDATE": (f"{_NEW} UNION ALL {_OLD}", "NEW TABLE AS new_rows OLD TABLE AS old_rows"),
    "DELETE": (_OLD, "OLD TABLE AS old_rows"),
}


def upgrade() -> None:
    """Creates the tables, triggers and indexes, and counts the existing rows."""
    op.create_table(
        "event_counts",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("type", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "patient_counts",
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("sex", sa.Integer, nullable=False),
        sa.Column("birth_month", sa.Date),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    key = ["deleted", "sex", "birth_month"]
    op.create_index("patient_counts_key", "patient_counts", key, unique=True, postgresql_nulls_not_distinct=True)
    op.create_table(
        "birthday_counts",
        sa.Column("date_of_birth", sa.Date, primary_key=True),
        sa.Column("deleted", sa.Boolean, primary_key=True),
        sa.Column("sex", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    for statement in _build_triggers():
        op.execute(statement)
    # Writes wait since the triggers were created, so the counts miss no row.
    op.execute(_ADD_EVENTS.format(rows="SELECT *, 1 AS number FROM events"))
    for add in (_ADD_PATIENTS, _ADD_BIRTHDAYS):
        op.execute(add.format(rows="SELECT *, 1 AS number FROM patients"))
    op.create_index("events_of_type", "events", ["type", sa.text("occur_time DESC"), sa.text("event_id DESC")])


def _build_triggers() -> Iterator[str]:
    """Yields the statements that create the triggers. Each counts the rows that a statement adds and removes."""
    for operation, (rows, transition_tables) in _OPERATIONS.items():
        changed = "old_rows" if operation == "DELETE" else "new_rows"
        for table, statements in (
            ("events", _ADD_EVENTS),
            ("patients", f"{_LOCK_PATIENT_COUNTS} {_ADD_PATIENTS}; {_ADD_BIRTHDAYS}"),
        ):
            name = f"count_{table}_on_{operation.lower()}"
            yield _FUNCTION.format(name=name, statements=statements.format(rows=rows, table=changed))
            yield _TRIGGER.format(name=name, operation=operation, table=table, transition_tables=transition_tables)
