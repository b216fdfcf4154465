"""Tests that gen/openapi.json is valid, complete and consistent with the services and the gateway."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from envoy.fhir import STATUSES as FHIR_STATUSES
from services.common.errors import Failure
from services.common.protobuf.contract import SERVICES, AccessKind, ContractError, Method, all_methods, all_scopes
from tools.openapi.errors import STATUSES, Responses
from tools.openapi.operations import template_path
from tools.protos import GEN

DOCUMENT: dict[str, Any] = json.loads((GEN / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
REST = [method for method in all_methods() if method.http]


def method_name(method: Method) -> str:
    return method.name


def find_operation(method: Method) -> dict[str, Any]:
    [http] = method.http
    operation: dict[str, Any] = DOCUMENT["paths"][template_path(http)][http.verb.lower()]
    return operation


def find_by_name(name: str) -> dict[str, Any]:
    [method] = [method for method in REST if method.name == name]
    return find_operation(method)


def parameters(name: str) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in find_by_name(name).get("parameters", [])}


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    for step in part.get("$ref", "").split("/")[1:]:
        part = part[step] if "$ref" not in part else DOCUMENT[step]
    return part


def reasons(name: str, status: str) -> set[str]:
    return set(resolve(find_by_name(name)["responses"][status])["content"]["application/json"]["examples"])


def test_document_is_valid() -> None:
    validate(DOCUMENT)


def test_document_has_exactly_the_rest_paths_of_the_protos() -> None:
    documented = {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs}
    assert documented == {(template_path(http), http.verb.lower()) for method in REST for http in method.http}


@pytest.mark.parametrize("method", REST, ids=method_name)
def test_operation_has_a_description_and_the_name_of_its_method(method: Method) -> None:
    operation = find_operation(method)
    assert operation["operationId"] == method.name
    assert operation["summary"]
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


@pytest.mark.parametrize("method", REST, ids=method_name)
def test_only_public_methods_need_no_token(method: Method) -> None:
    public = method.access.kind is AccessKind.PUBLIC
    of_client = [{"oauth2": [method.access.scope]}] if method.access.scope else []
    expected = [] if public else [{"bearer": []}, *of_client]
    assert find_operation(method).get("security", DOCUMENT["security"]) == expected
    assert ("TOKEN_MISSING" in str(find_operation(method)["responses"].get("401"))) is not public


def test_machine_clients_use_the_client_credentials_grant() -> None:
    flow = DOCUMENT["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "/v1/auth/token"
    assert flow["scopes"].keys() == all_scopes()
    assert flow["scopes"]["billing.write"] == "Permits CloseBillingAccount."


def test_token_endpoint_has_the_form_of_oauth() -> None:
    operation = find_by_name("IssueClientToken")
    assert operation["requestBody"]["content"].keys() == {"application/x-www-form-urlencoded", "application/json"}
    assert SCHEMAS["ClientToken"]["required"] == ["access_token", "token_type", "expires_in", "scope"]
    examples = operation["responses"]["401"]["content"]["application/json"]["examples"]
    assert examples["INVALID_CREDENTIALS"]["value"]["error"] == "invalid_client"


def test_every_field_has_a_description() -> None:
    fields = [field for schema in SCHEMAS.values() for field in schema.get("properties", {}).values()]
    assert len(fields) > 50
    assert all(field.get("description") for field in fields)


def test_timestamp_field_has_its_own_description() -> None:
    description = SCHEMAS["DeadLetter"]["properties"]["receiveTime"]["description"]
    assert description == "The time at which the message was first received."


def service_failures() -> Iterator[Any]:
    for name, service in SERVICES.items():
        module = import_module(f"services.{name}.errors")
        classes = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, Failure)]
        own = [cls for cls in classes if cls.__module__ == module.__name__]
        yield from (pytest.param(service, cls, id=f"{name} {cls.__name__}") for cls in own)


@pytest.mark.parametrize(("service", "failure"), [*service_failures()])
def test_service_failure_is_documented_by_a_method(service: str, failure: type[Failure]) -> None:
    methods = [method for method in REST if method.path.startswith(f"/{service}/")]
    status = str(FHIR_STATUSES.get(failure.reason, STATUSES[failure.code.name]))
    responses = [resolve(find_operation(method)["responses"].get(status, {})) for method in methods]
    examples = [response["content"]["application/json"]["examples"] for response in responses if response]
    documented = [example[failure.reason]["value"] for example in examples if failure.reason in example]
    assert (failure.code.value[0], failure.message) in {(error["code"], error["message"]) for error in documented}


@pytest.mark.parametrize("error", ["NOT_FOUND: NOTHING_KNOWN", "ABORTED: PATIENT_NOT_FOUND"])
def test_method_cannot_list_an_error_that_its_service_does_not_define(error: str) -> None:
    [method] = [method for method in REST if method.name == "GetPatient"]
    with pytest.raises(ContractError, match="which its service does not define"):
        Responses().build(method, method.http[0], f"Returns a patient.\n\nFails with:\n- {error}")


def test_error_response_lists_the_reasons_of_its_method() -> None:
    conflicts = {"EMAIL_ALREADY_EXISTS", "RECORD_NUMBER_ALREADY_EXISTS", "TRANSACTION_CONFLICT"}
    assert reasons("CreatePatient", "409") == conflicts
    assert reasons("GetPatient", "404") == {"PATIENT_NOT_FOUND"}
    assert reasons("DeletePatient", "403") == {"ROLE_REQUIRED", "USER_DISABLED"}
    assert reasons("GetPatient", "403") == {"SCOPE_REQUIRED", "USER_DISABLED"}
    assert reasons("ListSessions", "403") == {"USER_DISABLED", "USER_EXTERNAL"}
    assert "403" not in find_by_name("GetJwks")["responses"]
    assert reasons("Login", "401") == {"INVALID_CREDENTIALS"}
    assert "REQUEST_ID_REUSED" in reasons("CreatePatient", "400")


def test_field_has_the_rules_of_its_proto() -> None:
    name = SCHEMAS["PatientInput"]["properties"]["name"]
    assert name["maxLength"] == 100
    assert [bool(re.search(name["pattern"], text)) for text in ("Ana", "José Pérez", " ", "", "A\nB")] == [
        1,
        1,
        0,
        0,
        0,
    ]
    born = SCHEMAS["PatientInput"]["properties"]["dateOfBirth"]
    assert "format" not in born
    texts = ("1985-04-03", "1985-04", "1985", "1985-13")
    assert [text for text in texts if re.search(born["pattern"], text)] == ["1985-04-03", "1985-04", "1985"]
    password = SCHEMAS["SignUpRequest"]["properties"]["password"]
    assert (password["minLength"], password["maxLength"], password["format"]) == (8, 128, "password")
    size = parameters("ListPatients")["pageSize"]["schema"]
    assert (size["type"], size["minimum"], size["maximum"]) == ("integer", 0, 2**31 - 1)
    assert re.search(parameters("ListPatients")["orderBy"]["schema"]["pattern"], "name desc, createTime")
    assert SCHEMAS["Sex"]["enum"] == ["SEX_UNSPECIFIED", "SEX_FEMALE", "SEX_MALE", "SEX_OTHER"]


def test_requests_and_responses_require_different_fields() -> None:
    assert SCHEMAS["PatientInput"]["required"] == ["name", "email", "address", "dateOfBirth"]
    assert "required" not in SCHEMAS["PatientChanges"]
    assert SCHEMAS["ListPatientsResponse"]["required"] == ["patients", "nextPageToken"]


def test_response_requires_every_field_but_messages() -> None:
    patient = SCHEMAS["Patient"]
    assert {*patient["properties"]} - {*patient["required"]} == {"createTime", "updateTime", "deleteTime"}


def test_output_only_fields_are_read_only_and_absent_from_requests() -> None:
    output_only = {name for name, field in SCHEMAS["Patient"]["properties"].items() if field.get("readOnly")}
    assert output_only == {"id", "createTime", "updateTime", "deleteTime", "mergedInto"}
    assert SCHEMAS["PatientInput"]["properties"].keys() == SCHEMAS["Patient"]["properties"].keys() - output_only
    assert SCHEMAS["UserChanges"]["properties"].keys() == {"role", "disabled"}


def test_update_mask_accepts_only_updatable_fields() -> None:
    mask = parameters("UpdateUser")["updateMask"]["schema"]["pattern"]
    assert [bool(re.search(mask, text)) for text in ("role", "role,disabled", "*", "", "email", "role,")] == [
        1,
        1,
        1,
        1,
        0,
        0,
    ]


def test_request_id_is_a_parameter_and_a_header() -> None:
    locations = {name: parameter["in"] for name, parameter in parameters("CreatePatient").items()}
    assert locations == {"requestId": "query", "Idempotency-Key": "header"}


def test_id_in_the_path_is_required() -> None:
    assert parameters("UpdatePatient")["id"]["required"]
    assert parameters("UpdatePatient")["id"]["schema"]["format"] == "uuid"


def test_only_streams_are_described_as_streams() -> None:
    for method in REST:
        success = next(iter(find_operation(method)["responses"].values()))
        assert ("newline-delimited" in success["description"]) is method.returns_lines


def examples() -> Iterator[Any]:
    """Yields every example in the document with its schema."""

    def walk(part: Any, location: str) -> Iterator[Any]:
        if isinstance(part, list):
            for index, item in enumerate(part):
                yield from walk(item, f"{location}/{index}")
        if isinstance(part, dict):
            values = [part["example"]] if "schema" in part and "example" in part else []
            values += [example["value"] for example in part.get("examples", {}).values()] if "schema" in part else []
            yield from (pytest.param(value, part["schema"], id=location) for value in values)
            if isinstance(part.get("examples"), list):
                yield from (pytest.param(value, part, id=location) for value in part["examples"])
            for key, value in part.items():
                yield from walk(value, f"{location}/{key}")

    yield from walk(DOCUMENT["paths"], "paths")
    yield from walk(DOCUMENT["components"], "components")


@pytest.mark.parametrize(("example", "schema"), [*examples()])
def test_example_matches_its_schema(example: Any, schema: dict[str, Any]) -> None:
    schema_with_components = {"allOf": [schema], "components": DOCUMENT["components"]}
    jsonschema_rs.validator_for(schema_with_components, validate_formats=True).validate(example)


@pytest.mark.parametrize("name", ["CreatePatient", "SignUp", "Login", "CreateUser", "UpdatePatient"])
def test_request_body_has_an_example(name: str) -> None:
    assert find_by_name(name)["requestBody"]["content"]["application/json"]["example"]
