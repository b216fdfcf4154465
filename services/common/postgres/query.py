"""Runs one SQL statement for an operator: `python -m services.common.postgres.query STATEMENT`.

Prints each row as a line of JSON. The statement cannot change data without `--write`. The database and the role are
those of PULSETRACK_DATABASE_URL.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

import asyncpg

from services.common.settings import DatabaseSettings, SettingsError


async def run_statement(url: str, statement: str, *, write: bool = False) -> tuple[Sequence[asyncpg.Record], str]:
    """Runs a statement in a transaction. Returns its rows and the command tag, such as `UPDATE 3`."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        async with connection.transaction(readonly=not write):
            prepared = await connection.prepare(statement)
            rows = await prepared.fetch()
        return rows, prepared.get_statusmsg()
    finally:
        await connection.close()


def main() -> None:
    """Runs the statement of the command line. Exits with a one-line error if it fails."""
    parser = argparse.ArgumentParser(prog="python -m services.common.postgres.query", description=__doc__)
    parser.add_argument("statement")
    parser.add_argument("--write", action="store_true", help="permit the statement to change data")
    options = parser.parse_args()
    try:
        url = DatabaseSettings.read().database_url
        rows, tag = asyncio.run(run_statement(url, options.statement, write=options.write))
    except (SettingsError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.exit(f"The statement failed: {str(error) or type(error).__name__}")
    for row in rows:
        sys.stdout.write(json.dumps(dict(row), default=str) + "\n")
    sys.stdout.write(f"{tag}\n")


if __name__ == "__main__":
    main()
