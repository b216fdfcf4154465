"""Long lists in the audit: their people are stored in groups, once, and each is still found by their own id."""

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from gen.pulsetrack.patient.v1 import GetPatientRequest, ListPatientsRequest, Patient
from services.common.audit.archive import archive, verify_archives
from services.common.audit.seals import AuditIntegrityError, Sealer
from services.common.audit.tables import build_groups, compute_group_id, split
from services.common.audit.verify import verify
from services.common.postgres.database import Database
from services.common.rpc.tokens import TokenVerifier
from services.patient.models import AUDIT
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.patient.accesses import events_of, told
from tests.patient.factory import create_request

LISTED = 60
LISTS = "SELECT subject FROM access_events, unnest(patient_ids) AS subject WHERE method LIKE '%/ListPatients %'"


@pytest.fixture
def url(new_database: Callable[[str], str]) -> str:
    return new_database("patient")


@pytest.fixture
def sql(background: Background, url: str) -> Sql:
    return Sql(background, url)


@pytest.fixture
def patients(background: Background, url: str, signer: Signer) -> Iterator[Client]:
    serving = serve_service("patient", url, TokenVerifier(signer.trust))
    with background.during(serving) as port, connect(port, "patient", signer.token("USER")) as patients:
        yield patients


@pytest.fixture
def admin(patients: Client, signer: Signer) -> Client:
    return patients.with_token(signer.token("ADMIN"))


@pytest.fixture
def listed(patients: Client, sql: Sql) -> list[Patient]:
    """Patients of whom a user has had a list, which is recorded."""
    listed = [patients.create_patient(create_request()) for _ in range(LISTED)]
    read(patients, sql, 1)
    return listed


def read(patients: Client, sql: Sql, times: int) -> None:
    """Lists all patients, and waits until so many lists are recorded."""
    patients.list_patients(ListPatientsRequest(page_size=1000))
    count = "SELECT count(*) FROM access_events WHERE method LIKE '%/ListPatients %'"
    eventually(lambda: sql(count)[0]["count"] == times)


def groups(sql: Sql) -> set[UUID]:
    return {row["id"] for row in sql("SELECT id FROM access_groups")}


def test_a_long_list_is_found_by_each_of_its_patients(admin: Client, sql: Sql, listed: list[Patient]) -> None:
    assert {row["subject"] for row in sql(LISTS)} == groups(sql)
    for patient in (listed[0], listed[LISTED // 2], listed[-1]):
        assert told(events_of(admin, patient.id, 2)) == [("CreatePatient", "OK"), ("ListPatients", "OK")]


def test_a_long_list_names_its_first_patients_and_their_number(admin: Client, listed: list[Patient]) -> None:
    request = SearchAccessEventsRequest(subject_id=listed[0].id)
    [event, _] = admin.search_patient_access_events(request).access_events
    assert event.subject_count == LISTED
    assert len(event.subject_ids) == 20
    assert set(event.subject_ids) <= {patient.id for patient in listed}


def test_a_list_that_is_repeated_stores_no_group_again(patients: Client, sql: Sql, listed: list[Patient]) -> None:
    before = groups(sql)
    read(patients, sql, 2)
    assert groups(sql) == before


def test_a_list_with_one_patient_more_stores_one_group_more(patients: Client, sql: Sql, listed: list[Patient]) -> None:
    before = groups(sql)
    patients.create_patient(create_request())
    read(patients, sql, 2)
    assert len(groups(sql) - before) == 1


def test_the_id_of_a_group_is_not_recorded_as_a_patient(patients: Client, sql: Sql, listed: list[Patient]) -> None:
    name = str(next(iter(groups(sql))))
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=name))
    [event] = eventually(lambda: sql("SELECT patient_ids FROM access_events WHERE outcome = 'NOT_FOUND'"))
    assert event["patient_ids"] == []


def test_groups_hold_everybody_once() -> None:
    ids = [uuid4() for _ in range(1000)]
    found = build_groups([*ids, *ids[:10]])
    assert sorted(each for joined in found.values() for each in split(joined)) == sorted(ids)
    assert all(compute_group_id(joined) == name for name, joined in found.items())


async def sealed(url: str) -> None:
    """Seals and proves all that there is."""
    async with Database(url) as db:
        await Sealer(db, AUDIT).seal()
        await verify(db, AUDIT)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE access_groups SET subject_ids = subject_ids[2:]", "the people in it were changed"),
        ("DELETE FROM access_groups", "is missing, to which events refer"),
    ],
)
def test_a_changed_group_is_named(background: Background, url: str, sql: Sql, change: str, why: str) -> None:
    background.run(sealed(url))
    first = min(groups(sql))
    sql(change)
    with pytest.raises(AuditIntegrityError, match=f"group {first}:? {why}"):
        background.run(sealed(url))


def test_an_archive_holds_the_groups_of_its_events(
    background: Background, url: str, listed: list[Patient], tmp_path: Path
) -> None:
    async def archived() -> Path | None:
        await sealed(url)
        async with Database(url) as db:
            return await archive(db, AUDIT, "patient", tmp_path, datetime.now(UTC) + timedelta(days=1))

    path = background.run(archived())
    assert path
    assert verify_archives("patient", tmp_path)
    content = gzip.decompress(path.read_bytes())
    lines = content.splitlines(keepends=True)
    assert all(patient.id.encode() in content for patient in listed)
    without = [line for line in lines if not line.startswith(b'{"group"')]
    path.write_bytes(gzip.compress(b"".join(without)))
    with pytest.raises(AuditIntegrityError, match="was changed"):
        verify_archives("patient", tmp_path)
