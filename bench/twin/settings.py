"""The settings of the processes, from environment variables."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TOPIC = "twin.patient.events.v1"
PARTITIONS = 6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings. Secrets are in files."""

    database_url: str
    kafka: str
    billing_url: str
    signing_key: str
    """The private key in PEM form, with which tokens are signed."""
    admin_password: str
    is_tuned: bool
    """Whether verified tokens are cached, and reads take no transaction."""

    @classmethod
    def read(cls) -> Self:
        """Reads the settings. Raises KeyError if one is missing."""
        secrets = Path(os.environ["TWIN_SECRETS"])
        return cls(
            database_url=(secrets / "database-url").read_text(encoding="utf-8"),
            kafka=os.environ["TWIN_KAFKA"],
            billing_url=os.environ["TWIN_BILLING_URL"],
            signing_key=(secrets / "signing-key.pem").read_text(encoding="utf-8"),
            admin_password=(secrets / "admin-password").read_text(encoding="utf-8"),
            is_tuned=os.environ.get("TWIN_TUNED", "on") == "on",
        )
