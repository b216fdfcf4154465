"""Lists of erasures, with which a restored database repeats them: `python -m services.patient.erasure_list`.

`export` writes the list of a database to standard output, `import` reads a list from standard input. A list has ids,
times and reasons, but no data of patients. Requires the role that owns the tables.
"""

import argparse
import asyncio
import sys
from datetime import datetime

import asyncpg
import msgspec

from services.common.postgres.migrate import connect
from services.common.settings import DatabaseSettings, SettingsError

_ORIGIN = "SELECT coalesce(min(extract(epoch FROM begin_time))::text, '') FROM incarnations"

EXPORT = f"""
    SELECT jsonb_build_object(
        'origin', ({_ORIGIN}),
        'time', now(),
        'erasures', (SELECT coalesce(jsonb_agg(erasures ORDER BY request_time), '[]') FROM erasures)
    )
"""  # noqa: S608
"""Selects the list of a database, as one line of JSON."""

_LISTED = "json_populate_recordset(NULL::erasures, $1::json) AS listed"
_IMPORT = f"""
    INSERT INTO erasures (patient_id, reason, actor_id, request_time, erase_time, restricted, execute_time)
    SELECT patient_id, reason, actor_id, request_time, erase_time, restricted,
        CASE WHEN NOT EXISTS (SELECT FROM patients WHERE id = patient_id) THEN coalesce(execute_time, now()) END
    FROM {_LISTED}
    ON CONFLICT (patient_id) DO UPDATE SET reason = excluded.reason, actor_id = excluded.actor_id,
        request_time = excluded.request_time, erase_time = excluded.erase_time, restricted = excluded.restricted,
        execute_time = excluded.execute_time
    RETURNING execute_time IS NULL AS is_pending
"""  # noqa: S608
_CANCEL = f"""
    DELETE FROM erasures
    WHERE execute_time IS NULL AND request_time < $2 AND patient_id NOT IN (SELECT patient_id FROM {_LISTED})
"""  # noqa: S608


class ErasureList(msgspec.Struct):
    """The erasures of a database at a time, requested and executed. Those that were cancelled before are missing."""

    origin: str
    """When the first incarnation of the database began. It is the same in all databases that are restored from it."""
    time: datetime
    erasures: list[dict[str, str | int | bool | None]]
    """The rows of the table."""


async def import_erasures(url: str, known: ErasureList) -> int:
    """Makes the service repeat the erasures of a list, and cancels those that were cancelled before it was written.

    An erasure counts as executed if the patient does not exist. Returns the number of the others. Raises SettingsError
    if the list is that of another system.
    """
    rows = msgspec.json.encode(known.erasures).decode()
    async with connect(url) as connection, connection.transaction():
        if await connection.fetchval(_ORIGIN) != known.origin:
            raise SettingsError("the list of erasures is not that of the database, or of one that it was restored from")
        imported = await connection.fetch(_IMPORT, rows)
        await connection.execute(_CANCEL, rows, known.time)
    return sum(row["is_pending"] for row in imported)


async def _export(url: str) -> str:
    async with connect(url) as connection:
        return str(await connection.fetchval(EXPORT))


def main() -> None:
    """Runs the command. The settings come from the environment."""
    parser = argparse.ArgumentParser(prog="python -m services.patient.erasure_list", description=__doc__)
    parser.add_argument("command", choices=("export", "import"))
    command = parser.parse_args().command
    try:
        url = DatabaseSettings.read().database_url
        if command == "export":
            sys.stdout.write(asyncio.run(_export(url)) + "\n")
        else:
            known = msgspec.json.decode(sys.stdin.buffer.read(), type=ErasureList)
            count = asyncio.run(import_erasures(url, known))
            sys.stdout.write(f"The patient service executes {count} erasures when they are due.\n")
    except (SettingsError, ValueError, OSError, asyncpg.PostgresError) as error:
        sys.exit(f"Cannot {command} the erasures: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    main()
