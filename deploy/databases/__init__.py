"""Creates the services' databases. Only the roles of a service can connect to its database.

The service's owner role owns the tables. The service connects with a second role, to which the owner grants privileges.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from deploy.errors import StartError
from deploy.topology import BACKUP, OPERATOR, database_name, owner_name

if TYPE_CHECKING:
    import asyncpg

_SCRAM_ITERATIONS = 4096
_SERVICE_LIMITS = {
    "statement_timeout": "9s",
    "transaction_timeout": "15s",
    "idle_in_transaction_session_timeout": "5s",
}
"""Limits how long watches and seals wait: they wait for the oldest transaction on the server, of any service."""
_ASSISTANT_LIMITS = {"default_transaction_read_only": "on", "statement_timeout": "60s", "transaction_timeout": "60s"}
_ASSISTANTS = {OPERATOR: "pg_monitor, pg_signal_backend", BACKUP: "pg_read_all_data"}
"""The predefined roles that each assistant is a member of."""
_OWNER_LIMITS = {"statement_timeout": "1h", "transaction_timeout": "1h", "idle_in_transaction_session_timeout": "60s"}


class Passwords(NamedTuple):
    """The passwords of a service's roles."""

    service: str
    owner: str


def service_url(server: str, service: str, passwords: Passwords) -> str:
    """Returns the URL with which a service connects to its database on a server."""
    return _build_url(server, database_name(service), database_name(service), passwords.service)


def owner_url(server: str, service: str, passwords: Passwords) -> str:
    """Returns the URL with which the owner connects to a service's database."""
    return _build_url(server, database_name(service), owner_name(service), passwords.owner)


def _build_url(server: str, database: str, role: str, password: str) -> str:
    parts = urlsplit(server)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{quote(password, safe='')}@{place}", path=f"/{database}").geturl()


async def create_databases(
    server: str, passwords: Mapping[str, Passwords], *, shared: bool, assistants: Mapping[str, str] | None = None
) -> None:
    """Creates missing roles and databases, and sets the roles' passwords, which are given by service name.

    The assistants are the roles of operators and of backups, with their passwords. On a server that is shared with
    other systems, the privileges of its own databases are not changed.
    Raises StartError.
    """
    import asyncpg  # noqa: PLC0415 - takes 100 ms, while Postgres starts

    try:
        connection = await asyncpg.connect(server, timeout=10)
        try:
            for service, of_service in passwords.items():
                await _create_role(connection, database_name(service), of_service.service, _SERVICE_LIMITS)
                await _create_role(connection, owner_name(service), of_service.owner, _OWNER_LIMITS)
                await _create_database(connection, server, service)
            for role, password in (assistants or {}).items():
                await _create_assistant(connection, role, password, [*map(database_name, passwords)])
            if not shared:
                for database in ("postgres", "template1"):
                    await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        finally:
            await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"The databases cannot be created: {error or type(error).__name__}.") from None


async def _create_role(connection: "asyncpg.Connection", name: str, password: str, limits: Mapping[str, str]) -> None:
    """Creates a role if it is missing, and sets its password and limits. The name needs no quoting."""
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
        await connection.execute(f"CREATE ROLE {name} LOGIN")
    await connection.execute(f"ALTER ROLE {name} PASSWORD '{scram_verifier(password)}'")
    for limit, value in limits.items():
        await connection.execute(f"ALTER ROLE {name} SET {limit} = '{value}'")


async def _create_assistant(
    connection: "asyncpg.Connection", name: str, password: str, databases: Sequence[str]
) -> None:
    """Creates a role that can change no data. The operator's cannot connect to the services' databases."""
    await _create_role(connection, name, password, _ASSISTANT_LIMITS)
    await connection.execute(f"GRANT {_ASSISTANTS[name]} TO {name}")
    for database in ["postgres"] if name == OPERATOR else databases:
        await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {name}")


async def _create_database(connection: "asyncpg.Connection", server: str, service: str) -> None:
    """Creates a service's database if it is missing.

    In earlier versions the service's role owned the database. Such a database is transferred to the owner role.
    """
    name, owner = database_name(service), owner_name(service)
    # An administrator who is not a superuser can transfer ownership only to roles that it is a member of.
    await connection.execute(f"GRANT {name}, {owner} TO CURRENT_USER")
    current_owner = await connection.fetchval(
        "SELECT rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname = $1", name
    )
    if current_owner is None:
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
    elif current_owner == name:
        await _execute(urlsplit(server)._replace(path=f"/{name}").geturl(), f"REASSIGN OWNED BY {name} TO {owner}")
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, {name}")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")
    # Applies to all other connections, such as an administrator's idle session.
    await connection.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '60s'")


async def _execute(url: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415 - as above

    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def scram_verifier(password: str) -> str:
    """Returns the SCRAM verifier of an ASCII password (RFC 5803). Statements and logs never contain the password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt_}${stored_}:{server_}"
