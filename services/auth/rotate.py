"""Rotates the key that signs tokens: `python -m services.auth.rotate`, with the environment of the auth service.

The new key is shown at once and signs two minutes later, when all who verify have learned it. The old one is shown
until every token that it signed has expired. No call fails for it.
"""

import logging
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from services.auth.models import (
    DELETE_RETIRED_SIGNING_KEYS,
    INSERT_SIGNING_KEY,
    LIST_SIGNING_KEYS,
    LOCK_SIGNING_KEYS,
    RETIRE_SIGNING_KEYS,
)
from services.auth.tokens import LONGEST_TOKEN_SECONDS, KeyPassphrase, new_key, opened
from services.common.db import Database
from services.common.identity import CLOCK_SKEW_SECONDS
from services.common.server import run
from services.common.settings import DatabaseSettings
from services.common.telemetry import configure_logging

_log = logging.getLogger(__name__)

# After its successor has begun to sign: a token's life, the skew that verifiers allow for, and that of auth's clocks.
_RETIRES_AFTER = timedelta(seconds=LONGEST_TOKEN_SECONDS + 2 * CLOCK_SKEW_SECONDS)


class RotationSettings(DatabaseSettings, frozen=True, kw_only=True):
    """What a rotation is told."""

    key_passphrase: KeyPassphrase
    # The gateway learns a key within 60 s of auth, and auth within 10 s of the database.
    key_activation_seconds: Annotated[int, Meta(ge=0, description="How long a new key is shown before it signs.")] = 120


async def rotate(db: Database, passphrase: str, *, activates_in: timedelta) -> datetime:
    """Adds a key, has the others retire after it and deletes the retired ones. Returns when the new one will sign.

    Raises SettingsError for a passphrase that does not open the keys that there are: no service could read the new one.
    """
    async with db.begin() as tx:
        await tx.run(LOCK_SIGNING_KEYS)
        await tx.run(DELETE_RETIRED_SIGNING_KEYS)
        for row in await tx.rows(LIST_SIGNING_KEYS):
            opened(row, passphrase)
        [new] = await tx.rows(INSERT_SIGNING_KEY, activates_in=activates_in, **new_key(passphrase))
        activate_time: datetime = new["activate_time"]
        await tx.run(RETIRE_SIGNING_KEYS, successor=new["id"], retires=activate_time + _RETIRES_AFTER)
    return activate_time


async def main() -> None:
    """Rotates once."""
    settings = RotationSettings.read()
    configure_logging("auth", "INFO")
    activates_in = timedelta(seconds=settings.key_activation_seconds)
    async with Database(settings.database_url) as db:
        time = await rotate(db, settings.key_passphrase, activates_in=activates_in)
    _log.info("a new key is shown, and will sign from %s on", time.isoformat(timespec="seconds"))


if __name__ == "__main__":
    run(main)
