"""Makes the services' databases and roles on a server: `python -m tools.databases`, the job before the migrations."""

import asyncio
import sys
from typing import Annotated

import msgspec
from msgspec import Meta

from services.common.settings import DatabaseSettings, SettingsError
from tools.local.databases import Passwords, create_databases
from tools.local.errors import StartError


class DatabasesSettings(DatabaseSettings, frozen=True, kw_only=True):
    """What the job is told. Its own database URL is that of a role that may create databases and roles."""

    database_passwords: Annotated[str, Meta(description='{"auth": [password of its role, password of the owner], ...}')]

    def passwords(self) -> dict[str, Passwords]:
        """Returns the passwords by the service's name. Raises SettingsError."""
        try:
            return msgspec.json.decode(self.database_passwords, type=dict[str, Passwords])
        except msgspec.MsgspecError as error:
            raise SettingsError(f"PULSETRACK_DATABASE_PASSWORDS is not as it should be: {error}") from None


def main() -> None:
    """Makes what the server lacks. Ends with one sentence if that cannot be done."""
    try:
        settings = DatabasesSettings.read()
        asyncio.run(create_databases(settings.database_url, settings.passwords(), shared=False))
    except (SettingsError, StartError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
