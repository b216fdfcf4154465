"""Rotates the token signing key: `python -m services.auth.rotate`, with the environment of the auth service.

The new key is published immediately and starts to sign two minutes later, when every verifier has it. The old key stays
published until every token that it signed has expired. No call fails.

If a key may have leaked, use `--now`: it deletes the old keys and all sessions, and the new key signs immediately.
Services reject tokens signed with the old keys within five seconds, and users must log in again.
"""

import argparse
import logging
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from gen.pulsetrack.auth.v1 import SecurityEventType
from services.auth.security_events import record_operation
from services.auth.session_store import TOKEN_VALIDITY, delete_all
from services.auth.tokens import KeyPassphrase, create_key, decrypt_key
from services.auth.trust_store import (
    DELETE_RETIRED_SIGNING_KEYS,
    DELETE_SIGNING_KEYS,
    INSERT_SIGNING_KEY,
    LIST_SIGNING_KEYS,
    LOCK_SIGNING_KEYS,
    RETIRE_SIGNING_KEYS,
)
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database, Transaction, open_database
from services.common.rpc.server import run
from services.common.settings import PooledDatabaseSettings

_COMMAND = "services.auth.rotate"

_log = logging.getLogger(__name__)


class RotationSettings(PooledDatabaseSettings, frozen=True, kw_only=True):
    """The settings of a rotation."""

    key_passphrase: KeyPassphrase
    # The gateway fetches keys from auth every 10 s; auth reads them from the database every second.
    key_activation_seconds: Annotated[
        int, Meta(ge=0, description="How long a new key is published before it signs.")
    ] = 120


async def rotate(db: Database, passphrase: str, *, activates_in: timedelta) -> datetime:
    """Adds a key, schedules the retirement of the others, and deletes retired keys. Returns the activation time.

    Raises SettingsError for a passphrase that does not decrypt the existing keys: auth could not read the new one.
    """
    async with db.begin() as tx:
        await _lock_keys(tx, passphrase)
        await tx.run(DELETE_RETIRED_SIGNING_KEYS)
        [new] = await tx.rows(INSERT_SIGNING_KEY, activates_in=activates_in, **create_key(passphrase))
        activate_time: datetime = new["activate_time"]
        await tx.run(RETIRE_SIGNING_KEYS, successor=new["id"], retires=activate_time + TOKEN_VALIDITY)
        record_operation(tx, SecurityEventType.SIGNING_KEYS_ROTATED, _COMMAND)
    return activate_time


async def rotate_now(db: Database, passphrase: str) -> None:
    """Replaces all keys with a new one that signs immediately, and ends all sessions.

    Raises SettingsError for a passphrase that does not decrypt the existing keys.
    """
    async with db.begin() as tx:
        await _lock_keys(tx, passphrase)
        await tx.run(DELETE_SIGNING_KEYS)
        await delete_all(tx)
        await tx.rows(INSERT_SIGNING_KEY, activates_in=timedelta(), **create_key(passphrase))
        record_operation(tx, SecurityEventType.SIGNING_KEYS_REVOKED, _COMMAND)


async def main() -> None:
    """Rotates the key once."""
    parser = argparse.ArgumentParser(prog="python -m services.auth.rotate", description=__doc__)
    parser.add_argument("--now", action="store_true", help="revoke the old keys, all their tokens and all sessions")
    options = parser.parse_args()
    settings = RotationSettings.read()
    configure_logging("auth", "INFO")
    async with open_database(settings) as db:
        if options.now:
            await rotate_now(db, settings.key_passphrase)
            _log.info("The old keys and all sessions are revoked. Users must log in again.")
        else:
            activates_in = timedelta(seconds=settings.key_activation_seconds)
            time = await rotate(db, settings.key_passphrase, activates_in=activates_in)
            _log.info("A new key is published and starts to sign at %s.", time.isoformat(timespec="seconds"))


async def _lock_keys(tx: Transaction, passphrase: str) -> None:
    """Locks the keys until the end of the transaction, and verifies the passphrase by decrypting them."""
    await tx.run(LOCK_SIGNING_KEYS)
    for row in await tx.rows(LIST_SIGNING_KEYS):
        decrypt_key(row, passphrase)


if __name__ == "__main__":
    run(main)
