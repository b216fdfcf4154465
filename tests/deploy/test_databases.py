"""The services' databases and roles."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from deploy.databases import Passwords, create_databases, owner_url, service_url
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    return Postgres(tmp_path_factory.mktemp("databases") / "postgres", free_port(), "s3cret")


def run_story(server: Postgres, story: Callable[[RunningPart], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with RunningPart(server.part(), server.folder.parent / "logs") as running:
            await story(running)

    asyncio.run(whole())


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_service_reaches_only_its_own_database(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two"), "billing": Passwords("three", "four")}

    async def story(_: RunningPart) -> None:
        for _again in range(2):
            await create_databases(server.url(), passwords, shared=False)
        auth, billing = (service_url(server.url(), name, passwords[name]) for name in passwords)
        assert (
            await ask(billing, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user")
            is False
        )
        for others in ("pulsetrack_billing", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(auth.removesuffix("pulsetrack_auth") + others, "SELECT 1")

    run_story(server, story)


def test_only_the_owner_creates_tables(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two")}

    async def story(_: RunningPart) -> None:
        await create_databases(server.url(), passwords, shared=False)
        await ask(owner_url(server.url(), "auth", passwords["auth"]), "CREATE TABLE mine AS SELECT 1 AS number")
        for statement in ("CREATE TABLE other ()", "CREATE SCHEMA other", "CREATE TEMP TABLE other ()", "TABLE mine"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(service_url(server.url(), "auth", passwords["auth"]), statement)

    run_story(server, story)


def test_database_that_its_service_owned_is_given_to_the_owner(server: Postgres) -> None:
    passwords = Passwords("one", "two")
    service = service_url(server.url(), "analytics", passwords)

    async def story(_: RunningPart) -> None:
        await ask(server.url(), "CREATE ROLE pulsetrack_analytics LOGIN PASSWORD 'one'")
        await ask(server.url(), "CREATE DATABASE pulsetrack_analytics OWNER pulsetrack_analytics")
        await ask(service, "CREATE EXTENSION pg_trgm")
        await ask(service, "CREATE TABLE kept AS SELECT 1 AS number")
        for _again in range(2):
            await create_databases(server.url(), {"analytics": passwords}, shared=False)
        assert await ask(owner_url(server.url(), "analytics", passwords), "ALTER TABLE kept ADD more int") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(service, "SELECT number FROM kept")

    run_story(server, story)


def test_transactions_of_every_role_are_limited(server: Postgres) -> None:
    passwords = Passwords("one", "two")

    async def story(_: RunningPart) -> None:
        await create_databases(server.url(), {"auth": passwords}, shared=False)
        for url, limits in (
            (service_url(server.url(), "auth", passwords), "9s 15s 5s"),
            (owner_url(server.url(), "auth", passwords), "1h 1h 1min"),
            (server.url("pulsetrack_auth"), "0 0 1min"),
        ):
            names = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout")
            assert " ".join([str(await ask(url, f"SHOW {name}")) for name in names]) == limits

    run_story(server, story)


def test_new_password_replaces_the_previous_one(server: Postgres) -> None:
    async def story(_: RunningPart) -> None:
        for password in ("old", "new"):
            await create_databases(server.url(), {"auth": Passwords(password, password)}, shared=False)
        for url in (service_url, owner_url):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(url(server.url(), "auth", Passwords("old", "old")), "SELECT 1")
            assert await ask(url(server.url(), "auth", Passwords("new", "new")), "SELECT 1") == 1

    run_story(server, story)
