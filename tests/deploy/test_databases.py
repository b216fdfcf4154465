"""The services' databases and roles."""

import asyncpg
import pytest

from deploy.databases import Passwords, create_databases, owner_url, service_url
from tests.harness.embedded_postgres import query, run_scenario
from tools.local.part import RunningPart
from tools.local.postgres import Postgres
from tools.ports import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    return Postgres(tmp_path_factory.mktemp("databases") / "postgres", free_port(), "s3cret")


def test_service_reaches_only_its_own_database(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two"), "billing": Passwords("three", "four")}

    async def scenario(_: RunningPart) -> None:
        for _again in range(2):
            await create_databases(server.url(), passwords, shared=False)
        auth, billing = (service_url(server.url(), name, passwords[name]) for name in passwords)
        assert (
            await query(billing, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user")
            is False
        )
        for others in ("pulsetrack_billing", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await query(auth.removesuffix("pulsetrack_auth") + others, "SELECT 1")

    run_scenario(server, scenario)


def test_only_the_owner_creates_tables(server: Postgres) -> None:
    passwords = {"auth": Passwords("one", "two")}

    async def scenario(_: RunningPart) -> None:
        await create_databases(server.url(), passwords, shared=False)
        await query(owner_url(server.url(), "auth", passwords["auth"]), "CREATE TABLE mine AS SELECT 1 AS number")
        for statement in ("CREATE TABLE other ()", "CREATE SCHEMA other", "CREATE TEMP TABLE other ()", "TABLE mine"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await query(service_url(server.url(), "auth", passwords["auth"]), statement)

    run_scenario(server, scenario)


def test_database_owned_by_its_service_is_transferred_to_the_owner(server: Postgres) -> None:
    passwords = Passwords("one", "two")
    service = service_url(server.url(), "analytics", passwords)

    async def scenario(_: RunningPart) -> None:
        await query(server.url(), "CREATE ROLE pulsetrack_analytics LOGIN PASSWORD 'one'")
        await query(server.url(), "CREATE DATABASE pulsetrack_analytics OWNER pulsetrack_analytics")
        await query(service, "CREATE EXTENSION pg_trgm")
        await query(service, "CREATE TABLE numbers AS SELECT 1 AS number")
        for _again in range(2):
            await create_databases(server.url(), {"analytics": passwords}, shared=False)
        assert await query(owner_url(server.url(), "analytics", passwords), "ALTER TABLE numbers ADD more int") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(service, "SELECT number FROM numbers")

    run_scenario(server, scenario)


def test_transactions_of_every_role_are_limited(server: Postgres) -> None:
    passwords = Passwords("one", "two")

    async def scenario(_: RunningPart) -> None:
        await create_databases(server.url(), {"auth": passwords}, shared=False)
        for url, limits in (
            (service_url(server.url(), "auth", passwords), "9s 15s 5s"),
            (owner_url(server.url(), "auth", passwords), "1h 1h 1min"),
            (server.url("pulsetrack_auth"), "0 0 1min"),
        ):
            names = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout")
            assert " ".join([str(await query(url, f"SHOW {name}")) for name in names]) == limits

    run_scenario(server, scenario)


def test_new_password_replaces_the_previous_one(server: Postgres) -> None:
    async def scenario(_: RunningPart) -> None:
        for password in ("old", "new"):
            await create_databases(server.url(), {"auth": Passwords(password, password)}, shared=False)
        for url in (service_url, owner_url):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await query(url(server.url(), "auth", Passwords("old", "old")), "SELECT 1")
            assert await query(url(server.url(), "auth", Passwords("new", "new")), "SELECT 1") == 1

    run_scenario(server, scenario)


def test_operator_monitors_and_ends_sessions_but_reads_no_table(server: Postgres) -> None:
    passwords = Passwords("one", "two")

    async def scenario(_: RunningPart) -> None:
        for _again in range(2):
            await create_databases(
                server.url(), {"auth": passwords}, shared=False, assistants={"pulsetrack_operator": "three"}
            )
        address = server.url().rpartition("@")[2].partition("/")[0]
        operator = f"postgresql://pulsetrack_operator:three@{address}/"
        session = await asyncpg.connect(service_url(server.url(), "auth", passwords))
        sessions = "pg_stat_activity WHERE query LIKE '%of auth%' AND usename <> user"
        statement = f"SELECT pg_terminate_backend(pid, 5000) FROM {sessions}"
        assert await session.fetchval("SELECT 'a statement of auth'")
        assert await query(f"{operator}postgres", statement) is True
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await session.fetchval("SELECT 1")
        for rejected in ("CREATE TABLE other ()", "SELECT * FROM pg_authid"):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
                await query(f"{operator}postgres", rejected)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(f"{operator}pulsetrack_auth", "SELECT 1")

    run_scenario(server, scenario)
