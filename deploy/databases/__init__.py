"""The services' databases: each belongs to a role of its own, and no other service's role may connect to it.

The service does not run as the owner, but as a role that the owner has granted what it needs.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from deploy.errors import StartError

if TYPE_CHECKING:
    import asyncpg

_SCRAM_ITERATIONS = 4096
_SERVICE_LIMITS = {
    "statement_timeout": "9s",
    "transaction_timeout": "15s",
    "idle_in_transaction_session_timeout": "5s",
}
"""Watches and seals wait for the oldest transaction of the server, of whichever service it is."""
_OWNER_LIMITS = {"statement_timeout": "1h", "transaction_timeout": "1h", "idle_in_transaction_session_timeout": "60s"}


class Passwords(NamedTuple):
    """The passwords of a service's roles."""

    service: str
    owner: str


def database_name(service: str) -> str:
    """Returns the name of a service's database, which is the name of the service's role too."""
    return f"pulsetrack_{service}"


def owner_name(service: str) -> str:
    """Returns the name of the role that owns a service's database and its tables."""
    return f"{database_name(service)}_owner"


def service_url(server: str, service: str, passwords: Passwords) -> str:
    """Returns a service's URL of its database, on the server that the URL names."""
    return _url(server, database_name(service), database_name(service), passwords.service)


def owner_url(server: str, service: str, passwords: Passwords) -> str:
    """Returns the owner's URL of a service's database."""
    return _url(server, database_name(service), owner_name(service), passwords.owner)


def _url(server: str, database: str, role: str, password: str) -> str:
    parts = urlsplit(server)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{quote(password, safe='')}@{place}", path=f"/{database}").geturl()


async def create_databases(server: str, passwords: Mapping[str, Passwords], *, shared: bool) -> None:
    """Creates the roles and databases that the server lacks, and sets the roles' passwords, by the service's name.

    On a server that is shared with others, the server's own databases are left as they are. Raises StartError.
    """
    import asyncpg  # noqa: PLC0415 - costs 100 ms, spent while Postgres starts

    try:
        connection = await asyncpg.connect(server, timeout=10)
        try:
            for service, of_service in passwords.items():
                await _create_role(connection, database_name(service), of_service.service, _SERVICE_LIMITS)
                await _create_role(connection, owner_name(service), of_service.owner, _OWNER_LIMITS)
                await _create_database(connection, server, service)
            if not shared:
                for database in ("postgres", "template1"):
                    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        finally:
            await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"The databases cannot be created: {error or type(error).__name__}.") from None


async def _create_role(connection: "asyncpg.Connection", name: str, password: str, limits: Mapping[str, str]) -> None:
    """Creates a role. Its name is one of ours, and needs no quoting."""
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
        await connection.execute(f"CREATE ROLE {name} LOGIN")
    await connection.execute(f"ALTER ROLE {name} PASSWORD '{scram_verifier(password)}'")
    for limit, value in limits.items():
        await connection.execute(f"ALTER ROLE {name} SET {limit} = '{value}'")


async def _create_database(connection: "asyncpg.Connection", server: str, service: str) -> None:
    """Creates a service's database. One that an earlier version has made still belongs to the service: it is taken."""
    name, owner = database_name(service), owner_name(service)
    # So that an admin who is no superuser may give things away.
    await connection.execute(f"GRANT {name}, {owner} TO CURRENT_USER")
    belongs_to = await connection.fetchval(
        "SELECT rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname = $1", name
    )
    if belongs_to is None:
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
    elif belongs_to == name:
        await _run(urlsplit(server)._replace(path=f"/{name}").geturl(), f"REASSIGN OWNED BY {name} TO {owner}")
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, {name}")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")
    # For whatever else connects, as an administrator's session that is left open.
    await connection.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '60s'")


async def _run(url: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415 - as above

    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def scram_verifier(password: str) -> str:
    """Returns what Postgres stores of an ASCII password (RFC 5803), so that the password is in no statement or log."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt_}${stored_}:{server_}"
