"""Tests that the protos and JSON contain the methods, fields and enum values of the public contract."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.descriptor import EnumDescriptor

from services.common.protobuf import contract
from services.common.protobuf.contract import SERVICES, AccessKind, Method, all_methods, message_class, methods
from tests.contract.expected import ADMIN, CREDENTIALS, ENUMS, FIELDS, INTERNAL, LISTS, METHODS, PUBLIC, USERS, Row
from tests.contract.expected import SERVICES as SERVICES_ONLY
from tests.e2e.sessions import Session, a_patient
from tests.harness.waiting import eventually

ACCESS = {
    PUBLIC: (AccessKind.PUBLIC, frozenset[str]()),
    USERS: (AccessKind.USERS, frozenset({"USER", "ADMIN"})),
    ADMIN: (AccessKind.USERS, frozenset({"ADMIN"})),
    SERVICES_ONLY: (AccessKind.SERVICES, frozenset[str]()),
    CREDENTIALS: (AccessKind.CLIENT_CREDENTIALS, frozenset[str]()),
    INTERNAL: (AccessKind.INTERNAL, frozenset[str]()),
}


def find_method(row: Row) -> Method:
    """Returns the method of a row."""
    [method] = [method for method in methods(SERVICES[row.service]) if method.name == row.name]
    return method


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_method_has_its_rest_path_access_rule_and_stream_type(row: Row) -> None:
    method = find_method(row)
    assert [(http.verb, http.path) for http in method.http] == ([(row.verb, row.path)] if row.path else [])
    assert (method.access.kind, method.access.roles) == ACCESS[row.access]
    assert (method.streams, method.access.scope) == (row.streams, row.scope)


def test_table_contains_every_method() -> None:
    assert {method.path for method in all_methods()} == {f"/{SERVICES[row.service]}/{row.name}" for row in METHODS}


@pytest.mark.parametrize("name", [row.name for row in METHODS if row.name.startswith(("List", "Search"))])
def test_list_is_paged_and_named_after_its_resource(name: str) -> None:
    [method] = [method for method in all_methods() if method.name == name]
    field, message = LISTS[name]
    fields: Any = method.output.DESCRIPTOR.fields_by_name
    assert set(fields) == {field, "next_page_token"}
    assert fields[field].message_type.full_name == f"pulsetrack.{message}"
    assert {"page_size", "page_token"} <= set(method.input.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("message", FIELDS)
def test_message_has_its_contract_fields(message: str) -> None:
    assert set(FIELDS[message].split()) <= set(message_class(f"pulsetrack.{message}").DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("enum", ENUMS)
def test_enum_has_its_contract_values(enum: str) -> None:
    values = contract.pool().FindEnumTypeByName(f"pulsetrack.{enum}").values_by_name
    assert set(ENUMS[enum].split()) <= set(values)


def find_enums() -> Iterator[EnumDescriptor]:
    for file in contract.descriptor_set().file:
        if file.package.startswith("pulsetrack."):
            for enum in file.enum_type:
                yield contract.pool().FindEnumTypeByName(f"{file.package}.{enum.name}")


@pytest.mark.parametrize("enum", list(find_enums()), ids=lambda enum: enum.name)
def test_enum_values_have_the_name_of_their_enum_as_prefix(enum: EnumDescriptor) -> None:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum.name).removeprefix("_")
    assert [value for value in enum.values_by_name if not value.startswith(f"{prefix}_")] == []
    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"


@pytest.fixture(scope="module")
def patient(user: Session, admin: Session) -> dict[str, Any]:
    """Creates an invitation, a client, an erasure and a patient, and waits until all services have received it."""
    admin.post("/v1/invitations", {"email": f"{uuid4()}@clinic.test"})
    admin.post("/v1/clients", {"displayName": "contract", "scope": "patients.read"})
    admin.post(f"/v1/patients/{user.post('/v1/patients', a_patient())['id']}:erase", {"reason": "Request 2026-117"})
    created: dict[str, Any] = user.post("/v1/patients", a_patient(sex="SEX_FEMALE", medicalRecordNumber="contract"))
    admin.post(f"/v1/patients/{created['id']}/care-team-members", {"userId": str(uuid4())})
    eventually(lambda: user.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))
    eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"))
    return created


LIST_METHODS = [
    row for row in METHODS if row.name in LISTS and row.name != "ListDeadLetters"
]  # there are no dead letters


@pytest.mark.parametrize("row", LIST_METHODS, ids=lambda row: row.name)
def test_json_uses_camel_case_field_names(admin: Session, patient: dict[str, Any], row: Row) -> None:
    field, message = LISTS[row.name]
    path = row.path.format(id=patient["id"], user_id=admin.get("/v1/auth/me")["id"])
    name = to_camel_case(field)
    eventually(lambda: admin.get(path, pageSize=1)[name])  # access events are written shortly after their calls
    body = admin.get(path, pageSize=1)
    assert body.keys() <= {name, "nextPageToken"}
    [resource] = body[name]
    assert resource.keys() <= {to_camel_case(each) for each in FIELDS[message].split()}
    assert len(resource) > 2


def test_json_uses_enum_value_names(admin: Session, patient: dict[str, Any]) -> None:
    assert patient["sex"] == "SEX_FEMALE"
    assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
    [account] = admin.get("/v1/billing/accounts", patientId=patient["id"])["billingAccounts"]
    assert account["status"] == "ACCOUNT_STATUS_ACTIVE"
    [event] = admin.get("/v1/analytics/events", patientId=patient["id"])["events"]
    assert event["type"] == "PATIENT_EVENT_TYPE_CREATED"


def to_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
