"""ExportPatientData: a Bundle with all that the patient service and billing know of a person."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from fhirclient.models.bundle import Bundle
from grpc import StatusCode

from gen.google.api import HttpBody
from gen.pulsetrack.billing.v1 import CloseBillingAccountRequest
from gen.pulsetrack.patient.v1 import DeletePatientRequest, ExportPatientDataRequest, GetPatientRequest, Patient, Sex
from services.common.rpc.tokens import TokenVerifier
from tests.billing.factory import create_request as create_account_request
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID, Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import REASON, User, add_member, create_restricted
from tests.patient.erasing import REASON as ERASURE_REASON
from tests.patient.erasing import erase, request_erasure, run_eraser
from tests.patient.factory import create_request, update_request
from tests.patient.fhir_resources import a_rich_resource, without_meta
from tests.patient.fhir_resources import create as create_resource
from tests.patient.merging import create_pair, merge, unmerge

MANY_REVISIONS = (
    "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient, resource)"
    " SELECT patient_id, -number, actor_id, occur_time, 2, patient, $2"
    " FROM revisions CROSS JOIN generate_series(1, 2000) AS number WHERE patient_id = $1"
)
"""Adds 2,000 older versions to a patient with one."""

Resource = dict[str, Any]


class System:
    """A patient service, a billing service that it calls, and their clients."""

    def __init__(self, patients: Client, billing: Client, signer: Signer, url: str, sql: Sql) -> None:
        self.signer = signer
        self.url = url
        self.sql = sql
        self.patients = patients
        self.admin = patients.with_token(signer.long_lived_token("ADMIN"))
        self.service = billing.with_token(signer.long_lived_token("SERVICE"))
        self.billing_admin = billing.with_token(signer.long_lived_token("ADMIN"))

    def open_account(self, patient: Patient) -> Any:
        """Opens the account of a patient, as the delivery of its event does."""
        request = create_account_request(patient_id=patient.id, name=patient.name, email=patient.email)
        return self.service.create_billing_account(request)


@pytest.fixture(scope="module")
def system(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[System]:
    def serve(service: str, stack: ExitStack, **settings: Any) -> tuple[Client, str, str]:
        url = new_database(service)
        serving = serve_service(service, f"{url}?role={role_of(service)}", TokenVerifier(signer.trust), **settings)
        port = stack.enter_context(background.during(serving))
        client = stack.enter_context(connect(port, service, signer.long_lived_token("USER")))
        return client, f"127.0.0.1:{port}", url

    with ExitStack() as stack:
        billing, address, _ = serve("billing", stack)
        patients, _, url = serve("patient", stack, billing=address)
        yield System(patients, billing, signer, url, Sql(background, url))


@pytest.fixture(scope="module")
def admin(system: System) -> Client:
    """The admin, of the service that calls billing."""
    return system.admin


def read(client: Client, patient_id: str) -> list[HttpBody]:
    """Returns the messages of an export."""
    with client.export_patient_data(ExportPatientDataRequest(id=patient_id)) as stream:
        return list(stream)


def export(client: Client, patient_id: str) -> list[Resource]:
    """Returns the resources of an export, after checking that the Bundle is valid."""
    messages = read(client, patient_id)
    assert {each.content_type for each in messages} == {"application/fhir+json"}
    bundle = json.loads(b"".join(each.data for each in messages))
    assert Bundle(bundle).type == "collection"
    versions = [(each["fullUrl"], each["resource"].get("meta", {}).get("versionId")) for each in bundle["entry"]]
    assert len(set(versions)) == len(versions)
    return [each["resource"] for each in bundle["entry"]]


def select(resources: list[Resource], kind: str) -> list[Resource]:
    """Returns the resources of a type."""
    return [each for each in resources if each["resourceType"] == kind]


def select_calls(resources: list[Resource]) -> list[tuple[str, str]]:
    """Returns the method and the outcome of each AuditEvent, newest first."""
    events = select(resources, "AuditEvent")
    return [(each["subtype"][0]["code"].rpartition("/")[2], each["outcomeDesc"]) for each in events]


def unmistakable_values() -> Resource:
    """Returns fields of a patient that no other patient has."""
    return {
        "name": f"Name{uuid4().hex}",
        "email": f"{uuid4().hex}@clinic.test",
        "address": uuid4().hex,
        "phone": f"+{uuid4().int % 10**14}",
        "medical_record_number": uuid4().hex,
    }


def test_bundle_has_every_value_that_a_record_has_had(system: System, admin: Client) -> None:
    first = unmistakable_values() | {"date_of_birth": "1981-03-04", "registered_date": "2019-05-06", "sex": Sex.MALE}
    second = unmistakable_values() | {"date_of_birth": "1979-07-08"}
    patient = system.patients.create_patient(create_request(**first))
    admin.update_patient(update_request(patient, *second, **second))
    versions = select(export(admin, patient.id), "Patient")
    assert [each["meta"]["versionId"] for each in versions] == ["2", "1"]
    for values, version in zip((second, first), versions, strict=True):
        expected = [value for name, value in values.items() if name != "sex"] + ["2019-05-06", "male"]
        assert [value for value in expected if value not in str(version)] == []
    created = f"{patient.create_time:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    assert {"url": "urn:pulsetrack:create-time", "valueInstant": created} in versions[0]["extension"]


def test_each_version_has_a_provenance(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    admin.update_patient(update_request(patient, "phone", phone="112"))
    changes = select(export(admin, patient.id), "Provenance")
    assert [
        (each["target"][0]["reference"], each["activity"]["coding"][0]["code"], each["agent"][0]["who"]["identifier"])
        for each in changes
    ] == [
        (f"Patient/{patient.id}/_history/2", "UPDATED", {"system": "urn:pulsetrack:actor", "value": ADMIN_ID}),
        (f"Patient/{patient.id}/_history/1", "CREATED", {"system": "urn:pulsetrack:actor", "value": USER_ID}),
    ]


def test_bundle_has_the_elements_of_a_written_resource(system: System, admin: Client) -> None:
    written = create_resource(system.patients, a_rich_resource())
    [version] = select(export(admin, written["id"]), "Patient")
    extensions = [each for each in version["extension"] if each["url"] != "urn:pulsetrack:create-time"]
    assert without_meta(version | {"extension": extensions}) == without_meta(written)


def test_bundle_has_the_billing_account_and_its_access_events(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request(**unmistakable_values()))
    account = system.open_account(patient)
    system.billing_admin.close_billing_account(CloseBillingAccountRequest(id=account.id))
    resources = export(admin, patient.id)
    [exported] = select(resources, "Account")
    assert (exported["id"], exported["status"], exported["name"]) == (account.id, "inactive", patient.name)
    assert patient.email in str(exported)
    assert exported["subject"] == [{"reference": f"urn:uuid:{patient.id}"}]
    assert ("CloseBillingAccount", "OK") in select_calls(resources)


def test_export_fails_if_billing_is_unavailable(grpc_channel: Any, signer: Signer) -> None:
    admin = Client(grpc_channel, "patient", signer.long_lived_token("ADMIN"))
    patient = admin.create_patient(create_request())
    with pytest.raises(Rejected) as rejected:
        read(admin, patient.id)
    assert (rejected.value.code, rejected.value.reason) == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


def test_bundle_has_the_access_events_with_their_reasons(system: System, admin: Client) -> None:
    patient = create_restricted(system.patients)
    outsider = User(system.patients, system.signer)
    assert not outsider.sees(patient)
    outsider.break_glass(patient)
    wait_for_events(admin, patient.id, 3)
    resources = export(admin, patient.id)
    calls = [each for each in select_calls(resources) if each[0] in {"GetPatient", "BreakGlass", "CreatePatient"}]
    assert calls == [("BreakGlass", "OK"), ("GetPatient", "NOT_FOUND"), ("CreatePatient", "OK")]
    [event] = [each for each in select(resources, "AuditEvent") if each["subtype"][0]["code"].endswith("/BreakGlass")]
    details = {each["type"]: each["valueString"] for each in event["entity"][0]["detail"]}
    assert json.loads(details["query"]) == {"reason": REASON}
    assert event["agent"][0]["who"]["identifier"]["value"] == outsider.id
    assert (event["source"]["observer"]["display"], event["outcome"]) == ("patient", "0")


def test_restricted_patient_is_exported_with_its_care_team(system: System, admin: Client) -> None:
    patient = create_restricted(system.patients)
    member, outsider = User(system.patients, system.signer), User(system.patients, system.signer)
    add_member(admin, patient, member)
    outsider.break_glass(patient)
    resources = export(admin, patient.id)
    [team] = select(resources, "CareTeam")
    roles = {each["member"]["identifier"]["value"]: each["role"][0]["text"] for each in team["participant"]}
    assert roles == {USER_ID: "care team member", member.id: "care team member", outsider.id: "broke glass"}
    assert [each["member"]["identifier"]["value"] for each in team["participant"] if "end" in each["period"]] == [
        outsider.id
    ]
    [version] = select(resources, "Patient")
    assert version["meta"]["security"][0]["code"] == "R"


@pytest.mark.parametrize("role", ["USER", "SERVICE", "CLIENT"])
def test_only_admins_may_export(system: System, signer: Signer, role: str) -> None:
    patient = create_restricted(system.patients)
    claims = {"scope": "patients.read patients.write"} if role == "CLIENT" else {}
    client = system.patients.with_token(signer.long_lived_token(role, **claims))
    for patient_id in (patient.id, str(uuid4())):
        with pytest.raises(Rejected, match="PERMISSION_DENIED"):
            read(client, patient_id)


def test_deleted_patient_is_exported_with_a_scheduled_erasure(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=patient.id))
    resources = export(admin, patient.id)
    assert select(resources, "Task") == []
    assert "urn:pulsetrack:delete-time" in str(select(resources, "Patient")[0]["extension"])
    response = request_erasure(admin, patient)
    [task] = select(export(admin, patient.id), "Task")
    assert (task["reasonCode"]["text"], task["requester"]["identifier"]["value"]) == (ERASURE_REASON, ADMIN_ID)
    assert task["executionPeriod"]["start"].startswith(f"{response.erase_time:%Y-%m-%dT%H:%M:%S}")


def test_erased_patient_is_not_found(system: System, admin: Client, background: Background) -> None:
    patient = system.patients.create_patient(create_request())
    with background.during(run_eraser(system.url)):
        erase(admin, system.sql, patient)
    for patient_id in (patient.id, str(uuid4())):
        with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
            read(admin, patient_id)


def test_merged_patients_are_exported_as_one_person(system: System, admin: Client) -> None:
    survivor, merged = create_pair(system.patients)
    for patient in (survivor, merged):
        system.open_account(patient)
    merge(admin, survivor, merged)
    for patient_id in (survivor.id, merged.id):
        resources = export(admin, patient_id)
        versions = [(each["id"], each["meta"]["versionId"]) for each in select(resources, "Patient")]
        assert versions == [(survivor.id, "1"), (merged.id, "2"), (merged.id, "1")]
        links = [each["link"] for each in select(resources, "Patient") if "link" in each]
        assert links == [[{"other": {"reference": f"urn:uuid:{survivor.id}"}, "type": "replaced-by"}]]
        assert [each["name"] for each in select(resources, "Account")] == [survivor.name, merged.name]
    unmerge(admin, merged)
    assert {each["id"] for each in select(export(admin, merged.id), "Patient")} == {merged.id}


def test_export_is_an_access_event_of_each_record(system: System, admin: Client) -> None:
    survivor, merged = create_pair(system.patients)
    merge(admin, survivor, merged)
    export(admin, survivor.id)
    for patient in (survivor, merged):
        assert summarize(wait_for_events(admin, patient.id, 3))[-1] == ("ExportPatientData", "OK")


def test_rejected_export_is_an_access_event(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        read(system.patients, patient.id)
    assert summarize(wait_for_events(admin, patient.id, 2))[-1] == ("ExportPatientData", "PERMISSION_DENIED")


def test_erasure_during_an_export_ends_it_with_an_error(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    system.sql(MANY_REVISIONS, patient.id, json.dumps({"maritalStatus": {"text": "x" * 20_000}}).encode())
    with admin.export_patient_data(ExportPatientDataRequest(id=patient.id)) as stream:
        next(stream)
        system.sql("DELETE FROM patients WHERE id = $1", patient.id)
        with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
            list(stream)


def test_many_versions_are_sent_in_small_messages(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    system.sql(MANY_REVISIONS, patient.id, json.dumps({"maritalStatus": {"text": "x" * 2000}}).encode())
    messages = read(admin, patient.id)
    assert len(messages) > 15
    assert max(len(each.data) for each in messages) < 512 * 1024
    bundle = json.loads(b"".join(each.data for each in messages))
    assert sum(each["resource"]["resourceType"] == "Provenance" for each in bundle["entry"]) == 2001


def test_pages_of_access_events_are_complete(system: System, admin: Client) -> None:
    patient = system.patients.create_patient(create_request())
    account = system.open_account(patient)
    for _ in range(101):
        admin.get_patient(GetPatientRequest(id=patient.id))
        system.billing_admin.close_billing_account(CloseBillingAccountRequest(id=account.id))
    wait_for_events(admin, patient.id, 102)
    calls = select_calls(export(admin, patient.id))
    assert (calls.count(("GetPatient", "OK")), calls.count(("CloseBillingAccount", "OK"))) == (101, 101)
