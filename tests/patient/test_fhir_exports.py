"""Bulk exports of FHIR: the files contain all patients as they were when the export began."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import StatusCode

from gen.google.api import HttpBody
from gen.pulsetrack.patient.v1 import (
    DeleteFhirExportRequest,
    DeletePatientRequest,
    DownloadFhirExportRequest,
    GetFhirExportRequest,
    ImportPatientRecordsRequest,
    Patient,
    StartFhirExportRequest,
)
from services.common.postgres.database import Database
from services.common.rpc.tokens import TokenVerifier
from services.patient.prune_revisions import prune_revisions
from tests.conftest import Serve
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.erasing import erase, run_eraser
from tests.patient.factory import create_request, update_request
from tests.patient.fhir_resources import Resource, a_resource, a_rich_resource, create, parse, read
from tests.patient.merging import create_pair, merge
from tests.patient.test_export_patients import as_machine

PATIENTS, DELETED = "Patient.ndjson", "deleted.ndjson"


@pytest.fixture(scope="module", autouse=True)
def _several_pages(admin: Client) -> None:
    for _ in range(120):
        admin.create_patient(create_request())


@pytest.fixture(scope="module")
def machine(patients: Client, signer: Signer) -> Client:
    """A client with the token of a machine client."""
    return as_machine(patients, signer)


def start(client: Client, parameters: str = "", *, lenient: bool = False) -> str:
    """Starts an export and returns its ID."""
    export_id: str = parse(client.start_fhir_export(StartFhirExportRequest(parameters=parameters, lenient=lenient)))[
        "id"
    ]
    return export_id


def get(client: Client, export_id: str) -> dict[str, Any]:
    """Returns the manifest of an export."""
    return parse(client.get_fhir_export(GetFhirExportRequest(export_id=export_id)))


def download(client: Client, export_id: str, file: str = PATIENTS) -> list[Resource]:
    """Returns the resources of a file."""
    with client.download_fhir_export(DownloadFhirExportRequest(export_id=export_id, file=file)) as stream:
        text = b"".join(part.data for part in stream)
    return [json.loads(line) for line in text.splitlines()]


def export(client: Client, parameters: str = "") -> dict[str, Resource]:
    """Exports patients and returns them by ID."""
    return {each["id"]: each for each in download(client, start(client, parameters))}


def export_deleted(client: Client, parameters: str) -> set[str]:
    """Returns the IDs of the patients that an export lists as deleted."""
    bundles = download(client, start(client, parameters), DELETED)
    assert {(each["resourceType"], each["type"]) for each in bundles} <= {("Bundle", "transaction")}
    requests = [entry["request"] for each in bundles for entry in each["entry"]]
    assert {request["method"] for request in requests} <= {"DELETE"}
    return {request["url"].removeprefix("Patient/") for request in requests}


def delete(client: Client, export_id: str) -> None:
    """Deletes an export."""
    client.delete_fhir_export(DeleteFhirExportRequest(export_id=export_id))


def without_version(resource: Resource) -> str:
    """Returns a resource in JSON, without its ID, its version and its time."""
    meta = {name: each for name, each in resource["meta"].items() if name not in {"versionId", "lastUpdated"}}
    return json.dumps(resource | {"id": "", "meta": meta}, sort_keys=True)


def since(time: datetime | None) -> str:
    """Returns the parameter `_since` with a time."""
    assert time is not None
    return f"_since={time.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def test_file_contains_each_patient_once_by_id(admin: Client, sql: Sql) -> None:
    exported = download(admin, start(admin))
    rows = sql("SELECT id::text FROM patients WHERE delete_time IS NULL ORDER BY id")
    assert [each["id"] for each in exported] == [row["id"] for row in rows]


@pytest.mark.parametrize("resource", [a_resource(), a_rich_resource()], ids=["simple", "rich"])
def test_patient_is_exported_as_it_is_read(admin: Client, resource: Resource) -> None:
    patient_id = create(admin, resource)["id"]
    assert export(admin)[patient_id] == read(admin, patient_id)


def test_changes_after_the_start_have_no_effect(admin: Client) -> None:
    changed, deleted = (admin.create_patient(create_request()) for _ in range(2))
    export_id = start(admin)
    before = download(admin, export_id)
    admin.update_patient(update_request(changed, name="Ana Costa"))
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    created = admin.create_patient(create_request())
    assert download(admin, export_id) == before
    after = export(admin)
    assert (after[changed.id]["name"], deleted.id in after, created.id in after) == (
        [{"text": "Ana Costa"}],
        False,
        True,
    )


def test_large_patients_are_exported_in_several_messages(admin: Client) -> None:
    photo = [{"data": "R0lG" * 12_000}]
    created = [create(admin, a_resource(photo=photo)) for _ in range(12)]
    request = DownloadFhirExportRequest(export_id=start(admin), file=PATIENTS)
    with admin.download_fhir_export(request) as stream:
        parts = [part.data for part in stream]
    assert len(parts) > 2
    assert not [part for part in parts[:-1] if part.endswith(b"\n")]  # an incomplete file has an incomplete line
    exported = [json.loads(line) for line in b"".join(parts).splitlines()]
    assert [each for each in exported if each["id"] in {each["id"] for each in created}] == created


def test_exported_file_can_be_imported_into_an_empty_service(
    admin: Client, background: Background, new_database: Callable[[str], str], serve: Serve, signer: Signer
) -> None:
    create(admin, a_rich_resource())
    exported = download(admin, start(admin))
    records = HttpBody(content_type="application/fhir+ndjson", data="\n".join(map(json.dumps, exported)).encode())
    with (
        background.during(serve(new_database("patient"), TokenVerifier(signer.trust))) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        other = Client(channel, "patient", signer.long_lived_token("ADMIN"))
        other.import_patient_records(ImportPatientRecordsRequest(records=records))
        imported = download(other, start(other))
    assert sorted(map(without_version, imported)) == sorted(map(without_version, exported))


def test_manifest_names_the_request_and_the_file(admin: Client) -> None:
    parameters = "_type=Patient&_outputFormat=ndjson"
    export_id = start(admin, parameters)
    manifest = get(admin, export_id)
    assert manifest["request"] == f"Patient/$export?{parameters}"
    assert manifest["output"] == [{"type": "Patient", "url": f"exports/{export_id}/{PATIENTS}"}]
    assert (manifest["requiresAccessToken"], manifest["deleted"], manifest["error"]) == (True, [], [])


def test_export_since_the_time_of_the_previous_one_contains_the_changes_after_it(admin: Client) -> None:
    manifest = get(admin, start(admin))
    changed = admin.create_patient(create_request())
    assert changed.id in export(admin, f"_since={manifest['transactionTime']}")


def test_since_selects_patients_that_changed_at_or_after_it(admin: Client) -> None:
    earlier, changed = (admin.create_patient(create_request()) for _ in range(2))
    updated = admin.update_patient(update_request(changed, name="Ana Costa"))
    exported = export(admin, since(updated.update_time))
    assert (earlier.id in exported, changed.id in exported) == (False, True)
    assert changed.id not in export(admin, since(updated.update_time + timedelta(microseconds=1)))


def test_since_applies_to_the_state_in_the_snapshot(admin: Client) -> None:
    patient = admin.create_patient(create_request())
    export_id = start(admin, since(patient.update_time + timedelta(microseconds=1)))
    admin.update_patient(update_request(patient, name="Ana Costa"))
    assert patient.id not in {each["id"] for each in download(admin, export_id)}


def test_deleted_and_merged_patients_are_listed_apart(admin: Client) -> None:
    deleted = admin.create_patient(create_request())
    survivor, merged = create_pair(admin)
    admin.delete_patient(DeletePatientRequest(id=deleted.id))
    merge(admin, survivor, merged)
    parameters = since(deleted.update_time)
    assert {deleted.id, merged.id} <= export_deleted(admin, parameters)
    exported = export(admin, parameters)
    assert (survivor.id in exported, {deleted.id, merged.id} & exported.keys()) == (True, set())
    manifest = get(admin, export_id := start(admin, parameters))
    assert manifest["deleted"] == [{"type": "Bundle", "url": f"exports/{export_id}/{DELETED}"}]


def test_patient_deleted_before_is_not_listed(admin: Client) -> None:
    created = admin.create_patient(create_request())
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    assert created.id not in export_deleted(admin, since(deleted.update_time + timedelta(microseconds=1)))


def test_erased_patients_are_listed_as_deleted(
    admin: Client, machine: Client, background: Background, sql: Sql, database_url: str
) -> None:
    usual, restricted = (admin.create_patient(create_request(restricted=each)) for each in (False, True))
    with background.during(run_eraser(database_url)):
        for patient in (usual, restricted):
            erase(admin, sql, patient)
    parameters = since(usual.update_time)
    assert {usual.id, restricted.id} <= export_deleted(admin, parameters)
    listed = export_deleted(machine, parameters)
    assert (usual.id in listed, restricted.id in listed) == (True, False)


def test_patient_erased_after_the_start_is_withheld(
    admin: Client, background: Background, sql: Sql, database_url: str
) -> None:
    erased, kept = (admin.create_patient(create_request()) for _ in range(2))
    export_id = start(admin)
    with background.during(run_eraser(database_url)):
        erase(admin, sql, erased)
    exported = {each["id"] for each in download(admin, export_id)}
    assert (erased.id in exported, kept.id in exported) == (False, True)


def test_machine_client_exports_only_patients_that_are_not_restricted(admin: Client, machine: Client) -> None:
    visible, restricted = (admin.create_patient(create_request(restricted=each)) for each in (False, True))
    exported = export(machine)
    assert (visible.id in exported, restricted.id in exported) == (True, False)
    assert restricted.id in export(admin)


def test_patient_restricted_after_the_start_is_withheld(admin: Client, machine: Client) -> None:
    patient = admin.create_patient(create_request())
    export_id = start(machine)
    admin.update_patient(update_request(patient, restricted=True))
    assert patient.id not in {each["id"] for each in download(machine, export_id)}


def test_unsupported_parameters_are_rejected_unless_the_client_is_lenient(admin: Client) -> None:
    with pytest.raises(Rejected) as rejected:
        start(admin, "_elements=id")
    assert rejected.value.violations == {"parameters": "the parameter '_elements' is not supported"}
    assert download(admin, start(admin, "_elements=id", lenient=True))


@pytest.mark.parametrize("call", [get, download, delete])
def test_deleted_expired_and_unknown_exports_are_not_found(
    admin: Client, sql: Sql, call: Callable[[Client, str], object]
) -> None:
    deleted, expired = start(admin), start(admin)
    delete(admin, deleted)
    sql("UPDATE fhir_exports SET start_time = now() - interval '24 hours' WHERE id = $1", expired)
    for export_id in (deleted, expired, str(uuid4())):
        with pytest.raises(Rejected) as rejected:
            call(admin, export_id)
        assert (rejected.value.code, rejected.value.reason) == (StatusCode.NOT_FOUND, "FHIR_EXPORT_NOT_FOUND")


def test_export_of_a_pruned_snapshot_fails(admin: Client, background: Background, sql: Sql, database_url: str) -> None:
    changed = admin.create_patient(create_request())
    export_id = start(admin)
    admin.update_patient(update_request(changed, name="Ana Costa"))
    sql("UPDATE revisions SET occur_time = '2020-01-01' WHERE patient_id = $1", changed.id)

    async def prune() -> None:
        async with Database(database_url) as db:
            await prune_revisions(db, datetime(2021, 1, 1, tzinfo=UTC))

    background.run(prune())
    with pytest.raises(Rejected) as rejected:
        download(admin, export_id)
    assert rejected.value.reason == "SNAPSHOT_PRUNED"


def test_exported_patients_have_access_events(admin: Client) -> None:
    created: Patient = admin.create_patient(create_request())
    export(admin)
    events = wait_for_events(admin, created.id, 2)
    assert summarize(events) == [("CreatePatient", "OK"), ("DownloadFhirExport", "OK")]


def test_id_of_an_export_is_not_recorded_as_a_patient(admin: Client, sql: Sql) -> None:
    get(admin, start(admin))
    rows = eventually(lambda: sql("SELECT patient_ids FROM access_events WHERE method LIKE '%/GetFhirExport'"))
    assert not any(row["patient_ids"] for row in rows)
