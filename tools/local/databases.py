"""The services' databases: each belongs to a role of its own, and nobody else's role may connect to it."""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tools.local.errors import StartError

if TYPE_CHECKING:
    import asyncpg

_SCRAM_ITERATIONS = 4096


def database_name(service: str) -> str:
    """Returns the name of a service's database, which is its role's name too."""
    return f"pulsetrack_{service}"


def database_url(server: str, service: str, password: str) -> str:
    """Returns a service's URL of its database, on the server that the URL names."""
    parts = urlsplit(server)
    name = database_name(service)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{name}:{quote(password, safe='')}@{place}", path=f"/{name}").geturl()


async def create_databases(server: str, passwords: Mapping[str, str], *, shared: bool) -> None:
    """Creates the roles and databases that the server lacks, and sets the roles' passwords, by the service's name.

    On a server that is shared with others, the server's own databases are left as they are. Raises StartError.
    """
    import asyncpg  # noqa: PLC0415 - costs 100 ms, spent while Postgres starts

    try:
        connection = await asyncpg.connect(server, timeout=10)
        try:
            for service, password in passwords.items():
                await _create(connection, database_name(service), password)
            if not shared:
                for database in ("postgres", "template1"):
                    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        finally:
            await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"The databases cannot be created: {error or type(error).__name__}.") from None


async def _create(connection: "asyncpg.Connection", name: str, password: str) -> None:
    """Creates a database and its role. Their name is one of ours, and needs no quoting."""
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
        await connection.execute(f"CREATE ROLE {name} LOGIN")
    await connection.execute(f"ALTER ROLE {name} PASSWORD '{scram_verifier(password)}'")
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
        await connection.execute(
            f"GRANT {name} TO CURRENT_USER"
        )  # so that an admin who is no superuser may give it away
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")


def scram_verifier(password: str) -> str:
    """Returns what Postgres stores of an ASCII password (RFC 5803), so that the password is in no statement or log."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt_}${stored_}:{server_}"
