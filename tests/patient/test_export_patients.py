"""ExportPatients: all patients as they were at one moment, also if they change and the stream is interrupted."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode

from gen.pulsetrack.patient.v1 import (
    DeletePatientRequest,
    ExportPatientsRequest,
    ExportPatientsResponse,
    ImportPatientsRequest,
    Patient,
    Sex,
)
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.patient.prune_revisions import prune_revisions
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.services import RESUME_KEY
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import create_restricted
from tests.patient.erasing import erase, run_eraser
from tests.patient.factory import a_patient, create_request, update_request
from tests.patient.merging import create_pair, merge

PAGE = 500
TOKENS = b"an export of patients" + RESUME_KEY


@pytest.fixture(scope="module", autouse=True)
def _three_pages(admin: Client) -> None:
    for _ in range(3):
        records = [a_patient() for _ in range(PAGE)]
        admin.import_patients(ImportPatientsRequest(patients=records))


def read(client: Client, resume_token: str = "", **filters: Any) -> list[ExportPatientsResponse]:
    """Returns the messages of an export."""
    with client.export_patients(ExportPatientsRequest(resume_token=resume_token, **filters)) as stream:
        return list(stream)


def export(client: Client, resume_token: str = "", **filters: Any) -> list[Patient]:
    """Returns the patients of an export."""
    return [patient for message in read(client, resume_token, **filters) for patient in message.patients]


def begin(client: Client) -> tuple[list[Patient], str]:
    """Returns the first patients of an export, and the token that resumes it."""
    with client.export_patients(ExportPatientsRequest()) as stream:
        first = next(stream)
    return first.patients, first.resume_token


def as_machine(client: Client, signer: Signer) -> Client:
    """Returns a client with the token of a machine client."""
    client_id = str(uuid4())
    return client.with_token(signer.token("CLIENT", sub=client_id, client_id=client_id))


def test_export_contains_each_patient_once_by_id(admin: Client, sql: Sql) -> None:
    exported = export(admin)
    rows = sql("SELECT id::text FROM patients WHERE delete_time IS NULL ORDER BY id")
    assert [patient.id for patient in exported] == [row["id"] for row in rows]


def test_patient_is_exported_as_it_is(admin: Client) -> None:
    created = admin.create_patient(create_request())
    assert created in export(admin)


def test_only_the_last_message_has_no_resume_token(admin: Client) -> None:
    tokens = [message.resume_token for message in read(admin)]
    assert len(tokens) > 1
    assert all(tokens[:-1])
    assert not tokens[-1]


def test_changes_during_an_export_have_no_effect(admin: Client) -> None:
    changed, deleted = (admin.create_patient(create_request()) for _ in range(2))
    before = export(admin)
    first, token = begin(admin)
    for number in range(3):
        admin.update_patient(update_request(changed, name=f"Ana {number}"))
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    created = admin.create_patient(create_request())
    assert first + export(admin, token) == before
    after = {patient.id: patient for patient in export(admin)}
    assert (after[changed.id].name, deleted.id in after, created.id in after) == ("Ana 2", False, True)


def test_resumed_export_continues_the_snapshot(admin: Client) -> None:
    messages = read(admin)
    for number, message in enumerate(messages[:-1], start=1):
        admin.create_patient(create_request())
        assert read(admin, message.resume_token) == messages[number:]


def test_patient_deleted_in_the_snapshot_is_omitted_unless_requested(admin: Client) -> None:
    created = admin.create_patient(create_request())
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    assert created.id not in {patient.id for patient in export(admin)}
    assert deleted in export(admin, show_deleted=True)


def test_merged_patient_is_omitted_after_the_survivor_is_restricted(admin: Client) -> None:
    survivor, merged = create_pair(admin)
    merge(admin, survivor, merged)
    admin.update_patient(update_request(survivor, restricted=True))
    exported = {patient.id for patient in export(admin)}
    assert (survivor.id in exported, merged.id in exported) == (True, False)


def test_patient_erased_during_the_export_is_withheld(
    admin: Client, background: Background, sql: Sql, database_url: str
) -> None:
    erased, kept = (admin.create_patient(create_request()) for _ in range(2))
    _, token = begin(admin)
    with background.during(run_eraser(database_url)):
        erase(admin, sql, erased)
    exported = {patient.id for patient in export(admin, token)}
    assert (erased.id in exported, kept.id in exported) == (False, True)


@pytest.mark.parametrize(
    ("filters", "other"),
    [
        ({"sex": Sex.OTHER}, {"sex": Sex.MALE}),
        ({"born_after": "2001-02-02"}, {"date_of_birth": "2001-02-02"}),
        ({"born_before": "2001-02-04", "born_after": "2001-02-02"}, {"date_of_birth": "2001-02-04"}),
        ({"registered_after": "2019-12-31"}, {"registered_date": "2019-12-31"}),
        ({"registered_before": "2020-01-02"}, {"registered_date": "2020-01-02"}),
    ],
)
def test_filters_select_by_the_state_in_the_snapshot(
    admin: Client, filters: dict[str, Any], other: dict[str, Any]
) -> None:
    fields = {"sex": Sex.OTHER, "date_of_birth": "2001-02-03", "registered_date": "2020-01-01"}
    selected = admin.create_patient(create_request(**fields))
    omitted = admin.create_patient(create_request(**(fields | other)))
    with admin.export_patients(ExportPatientsRequest(**filters)) as stream:
        first = next(stream)
    admin.update_patient(update_request(selected, **other))
    exported = first.patients + export(admin, first.resume_token, **filters)
    assert selected in exported
    assert omitted not in exported


def test_filter_that_is_no_date_is_rejected(admin: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        read(admin, born_after="2001-02-30")
    assert rejected.value.violations.keys() == {"born_after"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: "garbage", id="garbage"),
        pytest.param(lambda good: ("B" if good[0] == "A" else "A") + good[1:], id="changed"),
        pytest.param(lambda _: cursor.encode(((2**40, 1), uuid4()), TOKENS), id="of the future"),
        pytest.param(lambda _: cursor.encode(((2**63, 1), uuid4()), TOKENS), id="out of range"),
        pytest.param(lambda _: cursor.encode(((0, 0), uuid4()), b"an export of patients"), id="forged"),
    ],
)
def test_forged_or_altered_resume_token_is_rejected(admin: Client, change: Callable[[str], str]) -> None:
    _, good = begin(admin)
    with pytest.raises(Rejected) as rejected:
        read(admin, change(good))
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


def test_resume_token_of_other_filters_is_rejected(admin: Client) -> None:
    _, token = begin(admin)
    with pytest.raises(Rejected, match="RESUME_TOKEN_INVALID"):
        read(admin, token, show_deleted=True)


def test_export_of_a_pruned_snapshot_fails(admin: Client, background: Background, sql: Sql, database_url: str) -> None:
    changed, last = (admin.create_patient(create_request()) for _ in range(2))
    _, token = begin(admin)
    admin.update_patient(update_request(changed, name="Ana Costa"))
    sql("UPDATE revisions SET occur_time = '2020-01-01' WHERE patient_id = $1", changed.id)

    async def prune() -> None:
        async with Database(database_url) as db:
            await prune_revisions(db, datetime(2021, 1, 1, tzinfo=UTC))

    background.run(prune())
    with pytest.raises(Rejected) as rejected:
        read(admin, token)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.FAILED_PRECONDITION, "SNAPSHOT_PRUNED")
    assert last in export(admin)


def test_machine_client_exports_only_patients_that_are_not_restricted(
    patients: Client, admin: Client, signer: Signer
) -> None:
    restricted = create_restricted(patients)
    visible = patients.create_patient(create_request())
    exported = export(as_machine(patients, signer))
    assert visible in exported
    assert restricted not in exported
    assert restricted in export(admin)


def test_patient_restricted_during_the_export_is_withheld(patients: Client, admin: Client, signer: Signer) -> None:
    machine = as_machine(patients, signer)
    patient = patients.create_patient(create_request())
    _, token = begin(machine)
    admin.update_patient(update_request(patient, restricted=True))
    assert patient.id not in {each.id for each in export(machine, token)}


def test_exported_patients_have_access_events(admin: Client) -> None:
    created = admin.create_patient(create_request())
    export(admin)
    events = wait_for_events(admin, created.id, 2)
    assert summarize(events) == [("CreatePatient", "OK"), ("ExportPatients", "OK")]
