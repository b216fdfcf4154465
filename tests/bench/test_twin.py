"""The reference service of the benchmark does the same work as PulseTrack, and responds in the same form."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from bench.apis import RestApi
from bench.cases import build_patient
from bench.errors import BenchError
from bench.ours import ADMIN as OUR_ADMIN
from bench.reference import ADMIN, Reference, start_reference
from tools.instance import Instance
from tools.load.clients import Json

pytestmark = pytest.mark.soak

Scenario = Callable[[Reference, RestApi], Awaitable[None]]


def run(folder: Path, scenario: Scenario) -> None:
    """Runs a scenario as an admin of the reference service, behind its gateway."""

    async def main() -> None:
        async with (
            start_reference(folder / "reference") as reference,
            reference.system,
            aiohttp.ClientSession(reference.gateway_url) as session,
        ):
            api = RestApi(session)
            api.authorize(await api.login(ADMIN, reference.admin_password))
            await scenario(reference, api)

    asyncio.run(main())


async def respond(api: RestApi) -> dict[str, Json]:
    """Returns the response to each measured call."""
    created = await api.create(build_patient("Kovacs"), "request")
    return {
        "create": created,
        "get": await api.get(created["id"]),
        "update": await api.update(created["id"], {"address": "2 High Street"}),
        "list": await api.list_page(),
        "search": await api.list_page("kovacs"),
    }


def describe(value: object) -> object:
    """Returns the names and types of a response."""
    if isinstance(value, dict):
        return {name: describe(each) for name, each in value.items()}
    return [describe(value[0])] if isinstance(value, list) else type(value).__name__


def test_responses_have_the_form_of_pulsetrack(system: Instance, tmp_path: Path) -> None:
    async def respond_as_ours() -> dict[str, Json]:
        async with aiohttp.ClientSession(system.url) as session:
            api = RestApi(session)
            api.authorize(await api.login(OUR_ADMIN, system.admin_password))
            return await respond(api)

    async def compare(_: Reference, api: RestApi) -> None:
        assert describe(await respond(api)) == ours

    ours = describe(asyncio.run(respond_as_ours()))
    run(tmp_path, compare)


def test_reference_does_the_whole_job_once_per_key(tmp_path: Path) -> None:
    async def check(reference: Reference, api: RestApi) -> None:
        patient = build_patient()
        created = await api.create(patient, "request")
        assert await api.create(patient, "request") == created
        await api.get(created["id"])
        await reference.system.settle()
        assert len(await reference.system.read_event_latencies(0)) == 1
        accounts = await read(reference, "SELECT patient_id::text FROM billing_accounts")
        assert accounts == [created["id"]]
        methods = await read_until(reference, "SELECT method FROM access_events ORDER BY occur_time", 3)
        assert methods == ["Login", "CreatePatient", "GetPatient"]

    run(tmp_path, check)


async def read(reference: Reference, query: str) -> list[str]:
    """Returns the first column of a query's result."""
    connection = await asyncpg.connect(reference.system.patients_url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def read_until(reference: Reference, query: str, count: int) -> list[str]:
    """Returns the first column of a query's result once it has at least `count` rows."""
    async with asyncio.timeout(30):
        while True:
            if len(values := await read(reference, query)) >= count:
                return values
            await asyncio.sleep(0.05)


def test_invalid_input_and_a_missing_token_are_rejected(tmp_path: Path) -> None:
    async def check(reference: Reference, api: RestApi) -> None:
        with pytest.raises(BenchError, match="422"):
            await api.create({**build_patient(), "dateOfBirth": "2999-01-01"}, "future")
        api.authorize("x.y.z")
        with pytest.raises(BenchError, match="401"):  # from the gateway
            await api.list_page()
        async with aiohttp.ClientSession(reference.url) as session:
            with pytest.raises(BenchError, match="401"):  # from the service
                await RestApi(session).list_page()

    run(tmp_path, check)
