"""Creates the services' databases and roles on a server: `python -m deploy.databases`. Runs before the migrations."""

import asyncio
import sys
from typing import Annotated

from msgspec import Meta

from deploy.databases import Passwords, create_databases
from deploy.errors import StartError
from deploy.topology import BACKUP, OPERATOR
from services.common.settings import DatabaseSettings, SettingsError


class DatabasesSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The settings of the job: the URL of a role that can create databases and roles, and each role's password."""

    auth_password: Annotated[str, Meta(description="The password of the role that auth runs as.")]
    auth_owner_password: Annotated[str, Meta(description="The password of the role that owns auth's tables.")]
    patient_password: Annotated[str, Meta(description="The password of the role that patient runs as.")]
    patient_owner_password: Annotated[str, Meta(description="The password of the role that owns patient's tables.")]
    billing_password: Annotated[str, Meta(description="The password of the role that billing runs as.")]
    billing_owner_password: Annotated[str, Meta(description="The password of the role that owns billing's tables.")]
    analytics_password: Annotated[str, Meta(description="The password of the role that analytics runs as.")]
    analytics_owner_password: Annotated[str, Meta(description="The password of the role that owns analytics' tables.")]
    operator_password: Annotated[str, Meta(description="The password of the role that monitors the server.")] = ""
    backup_password: Annotated[str, Meta(description="The password of the role that reads all tables.")] = ""

    def passwords(self) -> dict[str, Passwords]:
        """Returns the passwords by service name."""
        return {
            "auth": Passwords(self.auth_password, self.auth_owner_password),
            "patient": Passwords(self.patient_password, self.patient_owner_password),
            "billing": Passwords(self.billing_password, self.billing_owner_password),
            "analytics": Passwords(self.analytics_password, self.analytics_owner_password),
        }

    async def create_databases(self) -> None:
        """Creates missing databases and roles. Raises StartError."""
        passwords = {OPERATOR: self.operator_password, BACKUP: self.backup_password}
        assistants = {role: password for role, password in passwords.items() if password}
        await create_databases(self.database_url, self.passwords(), shared=False, assistants=assistants)


def main() -> None:
    """Creates missing databases and roles. Exits with a one-line error if that fails."""
    try:
        asyncio.run(DatabasesSettings.read().create_databases())
    except (SettingsError, StartError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
