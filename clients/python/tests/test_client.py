"""The client against a running system."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pulsetrack
import pytest
from pulsetrack import Client
from pulsetrack.auth.v1.clients_pb2 import CreateClientRequest, CreateClientResponse
from pulsetrack.patients import PatientFields
from running_system import System


def a_patient(name: str = "Ana Silva") -> PatientFields:
    email = f"{uuid4()}@clinic.test"
    return PatientFields(name=name, email=email, address="1 High Street", date_of_birth="1980-02-29")


def test_patient_is_created_read_updated_deleted_and_restored(system: System) -> None:
    async def calls(client: Client) -> None:
        fields = a_patient()
        fields["sex"] = pulsetrack.Sex.SEX_FEMALE
        created = await client.patients.create(**fields)
        assert await client.patients.get(created.id) == created
        updated = await client.patients.update(
            created.id, etag=created.etag, phone="+351 21 000 000", address="2 High Street"
        )
        assert (updated.phone, updated.sex) == ("+351 21 000 000", pulsetrack.Sex.SEX_FEMALE)
        assert (await client.patients.delete(created.id)).HasField("delete_time")
        assert not (await client.patients.undelete(created.id)).HasField("delete_time")
        assert [each.revision async for each in client.patients.revisions(created.id, page_size=2)] == [4, 3, 2, 1]

    system.run(calls)


def test_same_request_id_creates_one_patient(system: System) -> None:
    async def calls(client: Client) -> None:
        fields, request_id = a_patient(), str(uuid4())
        first = await client.patients.create(request_id=request_id, **fields)
        assert await client.patients.create(request_id=request_id, **fields) == first

    system.run(calls)


def test_list_yields_the_patients_of_all_pages(system: System) -> None:
    async def calls(client: Client) -> None:
        word = uuid4().hex
        created = {(await client.patients.create(**a_patient(f"Ana {word}"))).id for _ in range(3)}
        assert {each.id async for each in client.patients.list(query=word, page_size=2)} == created

    system.run(calls)


def test_error_has_a_reason_and_the_invalid_fields(system: System) -> None:
    async def calls(client: Client) -> None:
        with pytest.raises(pulsetrack.InvalidArgument) as caught:
            await client.patients.create(name="Ana", email="x", date_of_birth="1980-02-29")
        assert caught.value.reason == "FIELDS_INVALID"
        assert {each.field for each in caught.value.violations} == {"patient.email", "patient.address"}

    system.run(calls)


def test_stale_etag_raises_conflict(system: System) -> None:
    async def calls(client: Client) -> None:
        created = await client.patients.create(**a_patient())
        await client.patients.update(created.id, phone="+351 21 000 000")
        with pytest.raises(pulsetrack.Conflict, match="ETAG_MISMATCH"):
            await client.patients.update(created.id, etag=created.etag, phone="")

    system.run(calls)


def test_watch_continues_after_a_resume_token(system: System) -> None:
    async def calls(client: Client) -> None:
        watch = client.patients.watch(heartbeats=True)
        begun = await anext(watch)
        await watch.aclose()
        created = await client.patients.create(**a_patient())
        async for change in client.patients.watch(begun.resume_token):
            if change.revision.patient.id == created.id:
                return

    system.run(calls)


def test_statistics_have_a_time(system: System) -> None:
    async def calls(client: Client) -> None:
        assert (await client.statistics(bucket=pulsetrack.Bucket.BUCKET_MONTH)).HasField("as_of_time")

    system.run(calls)


async def read(client: Client) -> None:
    await client.statistics()


async def read_at_once(client: Client) -> None:
    await asyncio.gather(*(client.statistics() for _ in range(5)))


@pytest.fixture
def store(system: System) -> pulsetrack.TokenStore:
    """A store with the tokens of a session."""
    store = pulsetrack.TokenStore()
    system.run(read, store=store)
    return store


def test_token_is_refreshed_once_before_it_expires(system: System, store: pulsetrack.TokenStore) -> None:
    first = store.load()
    assert first
    store.save(replace(first, refresh_time=0))
    system.resume(read_at_once, store)  # a second use of a refresh token would end the session
    system.resume(read, store)
    assert store.load() != first


def test_rejected_token_is_refreshed(system: System, store: pulsetrack.TokenStore) -> None:
    first = store.load()
    assert first
    store.save(replace(first, access_token="invalid"))
    system.resume(read_at_once, store)


def test_wrong_password_raises_unauthenticated(system: System) -> None:
    with pytest.raises(pulsetrack.Unauthenticated, match="INVALID_CREDENTIALS"):
        replace(system, email=f"{uuid4()}@clinic.test").run(read, password="wrong password")


def test_session_without_a_store_ends_with_the_block(system: System) -> None:
    store = pulsetrack.TokenStore()

    async def calls(client: Client) -> None:
        await client.statistics()
        tokens = client.session.tokens
        assert tokens
        store.save(replace(tokens, refresh_time=0))

    system.run(calls)
    with pytest.raises(pulsetrack.Unauthenticated, match="REFRESH_TOKEN_INVALID"):
        system.resume(read, store)


def test_machine_client_creates_a_patient(system: System) -> None:
    created: list[CreateClientResponse] = []

    async def create_client(client: Client) -> None:
        request = CreateClientRequest(display_name="Import", scope="patients.read patients.write")
        created.append(await client.call(client.auth.CreateClient, request))

    async def machine() -> None:
        machine_client = pulsetrack.ClientCredentials(created[0].client.id, created[0].client_secret)
        async with pulsetrack.connect(system.url, credentials=machine_client) as client:
            await client.patients.create(**a_patient())
            with pytest.raises(pulsetrack.PermissionDenied):
                await client.statistics()

    system.run(create_client)
    asyncio.run(machine())
