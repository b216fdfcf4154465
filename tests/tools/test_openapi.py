"""gen/openapi.json, as `make proto` writes it: valid, complete, and as the services and the gateway behave."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from services.common.contract import SERVICES, ContractError, Door, Method, all_methods
from services.common.errors import Failure
from tools.openapi.errors import STATUSES, Responses
from tools.openapi.operations import url
from tools.protos import GEN

DOCUMENT: dict[str, Any] = json.loads((GEN / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
REST = [method for method in all_methods() if method.http]


def by_name(method: Method) -> str:
    return method.name


def operation(method: Method) -> dict[str, Any]:
    [http] = method.http
    found: dict[str, Any] = DOCUMENT["paths"][url(http)][http.verb.lower()]
    return found


def named(name: str) -> dict[str, Any]:
    [method] = [method for method in REST if method.name == name]
    return operation(method)


def parameters(name: str) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in named(name).get("parameters", [])}


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    for step in part.get("$ref", "").split("/")[1:]:
        part = part[step] if "$ref" not in part else DOCUMENT[step]
    return part


def reasons(name: str, status: str) -> set[str]:
    return set(resolved(named(name)["responses"][status])["content"]["application/json"]["examples"])


def test_it_is_valid() -> None:
    validate(DOCUMENT)


def test_it_has_every_rest_path_and_no_other() -> None:
    there = {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs}
    assert there == {(url(http), http.verb.lower()) for method in REST for http in method.http}


@pytest.mark.parametrize("method", REST, ids=by_name)
def test_an_operation_is_described_and_has_the_name_of_its_method(method: Method) -> None:
    said = operation(method)
    assert said["operationId"] == method.name
    assert said["summary"]
    assert all(parameter["description"] for parameter in said.get("parameters", []))


@pytest.mark.parametrize("method", REST, ids=by_name)
def test_only_public_methods_are_open(method: Method) -> None:
    public = method.access.door is Door.PUBLIC
    assert operation(method).get("security", DOCUMENT["security"]) == ([] if public else [{"bearer": []}])
    assert ("TOKEN_MISSING" in str(operation(method)["responses"].get("401"))) is not public


def test_every_field_is_described() -> None:
    fields = [field for schema in SCHEMAS.values() for field in schema.get("properties", {}).values()]
    assert len(fields) > 50
    assert all(field.get("description") for field in fields)


def failures() -> Iterator[Any]:
    for name, service in SERVICES.items():
        module = import_module(f"services.{name}.errors")
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Failure)]
        own = [kind for kind in kinds if kind.__module__ == module.__name__]
        yield from (pytest.param(service, kind, id=f"{name} {kind.__name__}") for kind in own)


@pytest.mark.parametrize(("service", "failure"), [*failures()])
def test_a_failure_of_a_service_is_said_by_a_method_of_it(service: str, failure: type[Failure]) -> None:
    methods = [method for method in REST if method.path.startswith(f"/{service}/")]
    status = str(STATUSES[failure.code.name])
    answers = [resolved(operation(method)["responses"].get(status, {})) for method in methods]
    examples = [answer["content"]["application/json"]["examples"] for answer in answers if answer]
    told = [example[failure.reason]["value"] for example in examples if failure.reason in example]
    assert (failure.code.value[0], failure.message) in {(error["code"], error["message"]) for error in told}


@pytest.mark.parametrize("said", ["NOT_FOUND: NOTHING_KNOWN", "ABORTED: PATIENT_NOT_FOUND"])
def test_a_method_cannot_say_that_it_fails_as_its_service_does_not(said: str) -> None:
    [method] = [method for method in REST if method.name == "GetPatient"]
    with pytest.raises(ContractError, match="which its service does not know"):
        Responses().of(method, method.http[0], f"Returns a patient. Fails with {said}.")


def test_an_error_has_the_reasons_of_its_method() -> None:
    conflicts = {"EMAIL_ALREADY_EXISTS", "RECORD_NUMBER_ALREADY_EXISTS", "TRANSACTION_CONFLICT"}
    assert reasons("CreatePatient", "409") == conflicts
    assert reasons("GetPatient", "404") == {"PATIENT_NOT_FOUND"}
    assert reasons("DeletePatient", "403") == {"ROLE_REQUIRED", "USER_DISABLED"}
    assert reasons("GetPatient", "403") == {"USER_DISABLED"}
    assert "403" not in named("GetJwks")["responses"]
    assert reasons("Login", "401") == {"INVALID_CREDENTIALS"}
    assert "REQUEST_ID_REUSED" in reasons("CreatePatient", "400")


def test_a_field_has_the_rules_of_its_proto() -> None:
    name = SCHEMAS["PatientInput"]["properties"]["name"]
    assert name["maxLength"] == 100
    assert [bool(re.search(name["pattern"], text)) for text in ("Ana", "José Pérez", " ", "", "A\nB")] == [
        1,
        1,
        0,
        0,
        0,
    ]
    assert SCHEMAS["PatientInput"]["properties"]["dateOfBirth"]["format"] == "date"
    password = SCHEMAS["SignUpRequest"]["properties"]["password"]
    assert (password["minLength"], password["maxLength"], password["format"]) == (8, 128, "password")
    size = parameters("ListPatients")["pageSize"]["schema"]
    assert (size["type"], size["minimum"], size["maximum"]) == ("integer", 0, 1000)
    assert "name desc" in parameters("ListPatients")["orderBy"]["schema"]["enum"]
    assert SCHEMAS["Sex"]["enum"] == ["SEX_UNSPECIFIED", "SEX_FEMALE", "SEX_MALE", "SEX_OTHER"]


def test_what_a_request_needs_is_not_what_an_answer_has() -> None:
    needed = ["name", "email", "address", "dateOfBirth"]
    assert (SCHEMAS["PatientInput"]["required"], SCHEMAS["Patient"]["required"]) == (needed, needed)
    assert "required" not in SCHEMAS["PatientChanges"]
    assert "required" not in SCHEMAS["ListPatientsResponse"]
    assert "required" not in SCHEMAS["TokenPair"]


def test_what_only_answers_have_is_read_only_and_no_request_has_it() -> None:
    only = {name for name, field in SCHEMAS["Patient"]["properties"].items() if field.get("readOnly")}
    assert only == {"id", "createTime", "updateTime", "deleteTime"}
    assert SCHEMAS["PatientInput"]["properties"].keys() == SCHEMAS["Patient"]["properties"].keys() - only
    assert SCHEMAS["UserChanges"]["properties"].keys() == {"role", "disabled"}


def test_an_update_says_what_its_mask_may_name() -> None:
    mask = parameters("UpdateUser")["updateMask"]["schema"]["pattern"]
    assert [bool(re.search(mask, text)) for text in ("role", "role,disabled", "*", "", "email", "role,")] == [
        1,
        1,
        1,
        1,
        0,
        0,
    ]


def test_a_request_id_is_a_parameter_and_a_header() -> None:
    places = {name: parameter["in"] for name, parameter in parameters("CreatePatient").items()}
    assert places == {"requestId": "query", "Idempotency-Key": "header"}


def test_an_id_in_the_path_is_needed() -> None:
    assert parameters("UpdatePatient")["id"]["required"]
    assert parameters("UpdatePatient")["id"]["schema"]["format"] == "uuid"


def test_a_stream_says_that_it_is_one() -> None:
    for method in REST:
        description = operation(method)["responses"]["200"]["description"]
        assert ("each on a line of its own" in description) is method.streams


def examples() -> Iterator[Any]:
    """Yields every example of the document with the schema that it is to fulfil."""

    def below(part: Any, where: str) -> Iterator[Any]:
        if isinstance(part, list):
            for index, item in enumerate(part):
                yield from below(item, f"{where}/{index}")
        if isinstance(part, dict):
            given = [part["example"]] if "schema" in part and "example" in part else []
            given += [example["value"] for example in part.get("examples", {}).values()] if "schema" in part else []
            yield from (pytest.param(value, part["schema"], id=where) for value in given)
            if isinstance(part.get("examples"), list):
                yield from (pytest.param(value, part, id=where) for value in part["examples"])
            for key, value in part.items():
                yield from below(value, f"{where}/{key}")

    yield from below(DOCUMENT["paths"], "paths")
    yield from below(DOCUMENT["components"], "components")


@pytest.mark.parametrize(("example", "schema"), [*examples()])
def test_an_example_is_valid(example: Any, schema: dict[str, Any]) -> None:
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(whole, validate_formats=True).validate(example)


@pytest.mark.parametrize("name", ["CreatePatient", "SignUp", "Login", "CreateUser", "UpdatePatient"])
def test_a_body_has_an_example(name: str) -> None:
    assert named(name)["requestBody"]["content"]["application/json"]["example"]
