"""The migrations of all services. One process runs those that are pending, because importing Alembic takes longer.

The program is `python -m tools.local.migrations SERVICE=FILE...`, with files that contain the URLs of the owners.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.errors import StartError
from deploy.topology import database_name
from tools.local.process import Command, run_to_end


async def migrate_databases(url_files: Mapping[str, Path], log: Path) -> None:
    """Migrates the databases of services, given by the file with the owner's URL, and grants the services' privileges.

    Raises StartError.
    """
    import asyncpg  # noqa: PLC0415 - takes 100 ms, while Postgres starts

    from services.common.postgres.migrate import grant_privileges, is_current  # noqa: PLC0415
    from services.common.settings import SettingsError  # noqa: PLC0415

    urls = {service: file.read_text() for service, file in url_files.items()}
    try:
        current = await asyncio.gather(*(is_current(service, url) for service, url in urls.items()))
        if not all(current):
            files = (f"{service}={file}" for service, file in url_files.items())
            command = Command(argv=(sys.executable, "-m", "tools.local.migrations", *files))
            await run_to_end("migrations", command, log)
        await asyncio.gather(*(grant_privileges(service, url, database_name(service)) for service, url in urls.items()))
    except (SettingsError, OSError, asyncpg.PostgresError) as error:
        raise StartError(f"The databases cannot be migrated: {str(error) or type(error).__name__}.") from None


def main() -> None:
    """Runs the pending migrations of the services that the command line names. Exits with an error if one fails."""
    from services.common.postgres.migrate import migrate  # noqa: PLC0415 - imports asyncpg
    from services.common.settings import SettingsError  # noqa: PLC0415

    for service, _, file in (argument.partition("=") for argument in sys.argv[1:]):
        try:
            migrate(service, Path(file).read_text())
        except SettingsError as error:
            sys.exit(f"Cannot migrate the database of {service}: {error}")


if __name__ == "__main__":
    main()
