"""The settings of the tasks, from the variables of their task definitions."""

from typing import Annotated

from msgspec import Meta
from pyrage.x25519 import Identity, Recipient

from deploy.databases.__main__ import DatabasesSettings
from services.common.settings import DatabaseSettings
from tools.backup.keys import parse_identity, parse_recipient


class BackupSettings(DatabaseSettings, frozen=True, kw_only=True):
    """The settings of a backup. The database URL is that of a role that reads all databases of the server."""

    backup_bucket: Annotated[str, Meta(description="S3 bucket of the backups.")]
    backup_recipient: Annotated[str, Meta(description="Public key of age to encrypt to: age1...")] = ""

    def parse_recipient(self) -> Recipient | None:
        """Returns the public key. Raises StartError if it is invalid."""
        if not self.backup_recipient:
            return None
        return parse_recipient(self.backup_recipient, "PULSETRACK_BACKUP_RECIPIENT")


class MaintenanceSettings(DatabasesSettings, frozen=True, kw_only=True):
    """The settings of restores and of the audit log's archives. The database URL is that of the administrator."""

    backup_bucket: Annotated[str, Meta(description="S3 bucket of the backups and of the audit log's archives.")]
    backup_key: Annotated[str, Meta(description="Private key of age that decrypts the backups.")] = ""

    def parse_key(self) -> Identity:
        """Returns the private key. Raises StartError if it is missing or invalid."""
        return parse_identity(self.backup_key, "PULSETRACK_BACKUP_KEY")
