"""The migrations of all services. One process runs those that are pending, because importing Alembic takes longer.

The program is `python -m tools.local.migrations SERVICE=FILE...`, with files that contain the URLs of the owners.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from deploy.errors import StartError
from deploy.topology import database_name
from tools.local.process import Command, run_to_end


class Migrations:
    """The pending migrations of services, and the grants of the services' privileges."""

    def __init__(self, url_files: Mapping[str, Path], log: Path) -> None:
        """Takes the files with the owners' URLs by service, and the log of the program."""
        self._url_files = url_files
        self._log = log
        self._program: asyncio.Task[None]
        self._input = -1

    async def load(self) -> None:
        """Starts the program, which imports its modules and waits for `run`."""
        files = (f"{service}={file}" for service, file in self._url_files.items())
        command = Command(argv=(sys.executable, "-m", "tools.local.migrations", *files))
        reading, self._input = os.pipe()
        program = run_to_end("migrations", command, self._log, stdin=os.fdopen(reading))
        self._program = asyncio.create_task(program)

    async def run(self, *, restored: bool = False) -> None:
        """Migrates the databases that do not have the newest version, and grants privileges.

        `restored` says that the databases were restored from a backup. Raises StartError.
        """
        import asyncpg  # noqa: PLC0415 - takes 100 ms, while Postgres starts

        from services.common.postgres.migrate import detect_restore, grant_privileges, is_current  # noqa: PLC0415
        from services.common.settings import SettingsError  # noqa: PLC0415

        urls = {service: file.read_text() for service, file in self._url_files.items()}
        try:
            if not all(await asyncio.gather(*(is_current(service, url) for service, url in urls.items()))):
                await self._run_program()
            await asyncio.gather(*(detect_restore(url, restored=restored) for url in urls.values()))
            await asyncio.gather(
                *(grant_privileges(service, url, database_name(service)) for service, url in urls.items())
            )
        except (SettingsError, OSError, asyncpg.PostgresError) as error:
            raise StartError(f"The databases cannot be migrated: {str(error) or type(error).__name__}.") from None

    async def _run_program(self) -> None:
        if self._input < 0:
            await self.load()
        os.write(self._input, b"start\n")
        os.close(self._input)
        await self._program


def main() -> None:
    """Runs the pending migrations of the services that the command line names. Exits with an error if one fails."""
    gc.disable()  # the process is short
    import_module("alembic.command")
    import_module("sqlalchemy.ext.asyncio")
    from services.common.postgres.migrate import migrate  # noqa: PLC0415 - imports asyncpg
    from services.common.settings import SettingsError  # noqa: PLC0415

    if not sys.stdin.readline():
        return
    for service, _, file in (argument.partition("=") for argument in sys.argv[1:]):
        try:
            migrate(service, Path(file).read_text())
        except SettingsError as error:
            sys.exit(f"Cannot migrate the database of {service}: {error}")


if __name__ == "__main__":
    main()
