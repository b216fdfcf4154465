"""Tests that the audit log stores the patients of lists in groups, and still finds each by its id."""

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
from services.common.audit.tables import build_groups, compute_group_id, split_ids
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
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.factory import create_request

LIST_SIZE = 60
RECORDED_SUBJECTS = (
    "SELECT subject FROM access_events, unnest(patient_ids) AS subject WHERE method LIKE '%/ListPatients %'"
)


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
def listed_patients(patients: Client, sql: Sql) -> list[Patient]:
    """Patients of a recorded list."""
    created = [patients.create_patient(create_request()) for _ in range(LIST_SIZE)]
    list_patients_and_wait(patients, sql, 1)
    return created


def list_patients_and_wait(patients: Client, sql: Sql, times: int) -> None:
    """Lists all patients and waits until a number of lists is recorded."""
    patients.list_patients(ListPatientsRequest(page_size=1000))
    count = "SELECT count(*) FROM access_events WHERE method LIKE '%/ListPatients %'"
    eventually(lambda: sql(count)[0]["count"] == times)


def get_group_ids(sql: Sql) -> set[UUID]:
    return {row["id"] for row in sql("SELECT id FROM access_groups")}


def test_long_list_is_found_by_each_of_its_patients(admin: Client, sql: Sql, listed_patients: list[Patient]) -> None:
    assert {row["subject"] for row in sql(RECORDED_SUBJECTS)} == get_group_ids(sql)
    for patient in (listed_patients[0], listed_patients[LIST_SIZE // 2], listed_patients[-1]):
        assert summarize(wait_for_events(admin, patient.id, 2)) == [("CreatePatient", "OK"), ("ListPatients", "OK")]


def test_long_list_returns_its_first_patients_and_their_number(admin: Client, listed_patients: list[Patient]) -> None:
    request = SearchAccessEventsRequest(subject_id=listed_patients[0].id)
    [event, _] = admin.search_patient_access_events(request).access_events
    assert event.subject_count == LIST_SIZE
    assert len(event.subject_ids) == 20
    assert set(event.subject_ids) <= {patient.id for patient in listed_patients}


def test_repeated_list_stores_no_new_group(patients: Client, sql: Sql, listed_patients: list[Patient]) -> None:
    before = get_group_ids(sql)
    list_patients_and_wait(patients, sql, 2)
    assert get_group_ids(sql) == before


def test_list_with_one_more_patient_stores_one_more_group(
    patients: Client, sql: Sql, listed_patients: list[Patient]
) -> None:
    before = get_group_ids(sql)
    patients.create_patient(create_request())
    list_patients_and_wait(patients, sql, 2)
    assert len(get_group_ids(sql) - before) == 1


def test_group_id_is_not_recorded_as_a_patient(patients: Client, sql: Sql, listed_patients: list[Patient]) -> None:
    group_id = str(next(iter(get_group_ids(sql))))
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        patients.get_patient(GetPatientRequest(id=group_id))
    [event] = eventually(lambda: sql("SELECT patient_ids FROM access_events WHERE outcome = 'NOT_FOUND'"))
    assert event["patient_ids"] == []


def test_short_list_is_found_by_each_of_its_patients(patients: Client, admin: Client, sql: Sql) -> None:
    created = [patients.create_patient(create_request()) for _ in range(2)]
    list_patients_and_wait(patients, sql, 1)
    assert {row["subject"] for row in sql(RECORDED_SUBJECTS)} == get_group_ids(sql)
    for patient in created:
        assert summarize(wait_for_events(admin, patient.id, 2)) == [("CreatePatient", "OK"), ("ListPatients", "OK")]


def test_list_of_up_to_256_subjects_is_one_group_in_its_order() -> None:
    ids = [uuid4() for _ in range(256)]
    [joined] = build_groups(ids).values()
    assert split_ids(joined) == ids


def test_groups_contain_each_subject_once() -> None:
    ids = [uuid4() for _ in range(1000)]
    groups = build_groups([*ids, *ids[:10]])
    assert sorted(each for joined in groups.values() for each in split_ids(joined)) == sorted(ids)
    assert all(compute_group_id(joined) == group_id for group_id, joined in groups.items())


async def seal_and_verify(url: str) -> None:
    """Seals all events and verifies the chain."""
    async with Database(url) as db:
        await Sealer(db, AUDIT).seal()
        await verify(db, AUDIT)


@pytest.mark.usefixtures("listed_patients")
@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ("UPDATE access_groups SET subject_ids = subject_ids[2:]", "its subjects were changed"),
        ("DELETE FROM access_groups", "is missing, but events refer to it"),
    ],
)
def test_changed_group_is_reported(background: Background, url: str, sql: Sql, change: str, violation: str) -> None:
    background.run(seal_and_verify(url))
    first = min(get_group_ids(sql))
    sql(change)
    with pytest.raises(AuditIntegrityError, match=f"group {first}:? {violation}"):
        background.run(seal_and_verify(url))


def test_archive_contains_the_groups_of_its_events(
    background: Background, url: str, listed_patients: list[Patient], tmp_path: Path
) -> None:
    async def archive_events() -> Path | None:
        await seal_and_verify(url)
        async with Database(url) as db:
            return await archive(db, AUDIT, "patient", tmp_path, datetime.now(UTC) + timedelta(days=1))

    path = background.run(archive_events())
    assert path
    assert verify_archives("patient", tmp_path)
    content = gzip.decompress(path.read_bytes())
    lines = content.splitlines(keepends=True)
    assert all(patient.id.encode() in content for patient in listed_patients)
    lines_without_groups = [line for line in lines if not line.startswith(b'{"group"')]
    path.write_bytes(gzip.compress(b"".join(lines_without_groups)))
    with pytest.raises(AuditIntegrityError, match="was changed"):
        verify_archives("patient", tmp_path)
