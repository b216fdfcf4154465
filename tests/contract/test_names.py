"""Methods, fields and enum values: those of the protos are those that callers rely on."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor

from services.common import contract
from services.common.contract import SERVICES, Door, Method, all_methods, message_class, methods
from tests.contract.expected import ADMIN, CREDENTIALS, ENUMS, FIELDS, INTERNAL, LISTS, METHODS, PEOPLE, PUBLIC, Row
from tests.contract.expected import SERVICES as BY_SERVICES
from tests.e2e.people import Person, a_patient
from tests.harness.waiting import eventually

WHO = {
    PUBLIC: (Door.PUBLIC, frozenset[str]()),
    PEOPLE: (Door.PEOPLE, frozenset({"USER", "ADMIN"})),
    ADMIN: (Door.PEOPLE, frozenset({"ADMIN"})),
    BY_SERVICES: (Door.SERVICES, frozenset[str]()),
    CREDENTIALS: (Door.CLIENT_CREDENTIALS, frozenset[str]()),
    INTERNAL: (Door.INTERNAL, frozenset[str]()),
}


def method_of(row: Row) -> Method:
    """Returns the method that a row tells of."""
    [method] = [method for method in methods(SERVICES[row.service]) if method.name == row.name]
    return method


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.name)
def test_a_method_is_where_its_callers_look_for_it(row: Row) -> None:
    method = method_of(row)
    assert [(http.verb, http.path) for http in method.http] == ([(row.verb, row.path)] if row.path else [])
    assert (method.access.door, method.access.roles) == WHO[row.who]
    assert method.streams is row.streams


def test_every_method_is_in_the_table() -> None:
    assert {method.path for method in all_methods()} == {f"/{SERVICES[row.service]}/{row.name}" for row in METHODS}


@pytest.mark.parametrize("name", [row.name for row in METHODS if row.name.startswith(("List", "Search"))])
def test_a_list_is_paged_and_named_after_what_it_holds(name: str) -> None:
    [method] = [method for method in all_methods() if method.name == name]
    field, message = LISTS[name]
    answer: Any = method.output.DESCRIPTOR.fields_by_name
    assert set(answer) == {field, "next_page_token"}
    assert answer[field].message_type.full_name == f"pulsetrack.{message}"
    assert {"page_size", "page_token"} <= set(method.input.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("message", FIELDS)
def test_a_message_has_the_fields_that_its_readers_know(message: str) -> None:
    assert set(FIELDS[message].split()) <= set(message_class(f"pulsetrack.{message}").DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("enum", ENUMS)
def test_an_enum_has_the_values_that_its_readers_know(enum: str) -> None:
    values = contract.pool().FindEnumTypeByName(f"pulsetrack.{enum}").values_by_name
    assert set(ENUMS[enum].split()) <= set(values)


def enums() -> Iterator[EnumDescriptor]:
    for file in contract.descriptor_set().file:
        if file.package.startswith("pulsetrack."):
            for enum in file.enum_type:
                yield contract.pool().FindEnumTypeByName(f"{file.package}.{enum.name}")


@pytest.mark.parametrize("enum", list(enums()), ids=lambda enum: enum.name)
def test_the_values_of_an_enum_carry_its_name(enum: EnumDescriptor) -> None:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum.name).removeprefix("_")
    assert [value for value in enum.values_by_name if not value.startswith(f"{prefix}_")] == []
    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"


@pytest.fixture(scope="module")
def known(user: Person) -> dict[str, Any]:
    """A patient of whom all services know."""
    created: dict[str, Any] = user.post("/v1/patients", a_patient(sex="SEX_FEMALE", medicalRecordNumber="contract"))
    eventually(lambda: user.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))
    eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"))
    return created


OF_LISTS = [row for row in METHODS if row.name in LISTS and row.name != "ListDeadLetters"]  # of which there are none


@pytest.mark.parametrize("row", OF_LISTS, ids=lambda row: row.name)
def test_json_has_the_same_names_in_camel_case(admin: Person, known: dict[str, Any], row: Row) -> None:
    field, message = LISTS[row.name]
    answer = admin.get(row.path.format(id=known["id"]), pageSize=1)
    assert answer.keys() <= {camel(field), "nextPageToken"}
    [resource] = answer[camel(field)]
    assert resource.keys() <= {camel(name) for name in FIELDS[message].split()}
    assert len(resource) > 2


def test_json_has_the_names_of_enum_values(admin: Person, known: dict[str, Any]) -> None:
    assert known["sex"] == "SEX_FEMALE"
    assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
    [account] = admin.get("/v1/billing/accounts", patientId=known["id"])["billingAccounts"]
    assert account["status"] == "ACCOUNT_STATUS_ACTIVE"
    [event] = admin.get("/v1/analytics/events", patientId=known["id"])["events"]
    assert event["type"] == "PATIENT_EVENT_TYPE_CREATED"


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
