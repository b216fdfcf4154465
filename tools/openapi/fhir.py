"""The FHIR API: resources as bodies, and OperationOutcomes as error responses."""

import json
from copy import deepcopy
from typing import Any

from envoy.fhir import SUCCESSES
from services.common.protobuf.contract import FHIR_CONTENT, FHIR_LINES, FHIR_REASON, LINES, Http, Method
from tools.openapi.rules import Schema

_PATIENT: Schema = {
    "resourceType": "Patient",
    "name": [{"family": "Silva", "given": ["Ana"]}],
    "telecom": [{"system": "email", "value": "ana.silva@example.com"}],
    "gender": "female",
    "birthDate": "1980-02-29",
    "address": [{"line": ["1 High Street"], "city": "Porto"}],
}
_HEADERS = {
    "CreateFhirPatient": {"Location": "The URL of the version."},
    "StartFhirExport": {"Content-Location": "The URL of the manifest."},
    "GetFhirExport": {"Expires": "The time at which the export expires."},
}
"""The descriptions of the headers of responses, by method."""


def _resource() -> Schema:
    return {
        "type": "object",
        "properties": {"resourceType": {"type": "string"}},
        "required": ["resourceType"],
        "additionalProperties": True,
    }


def fhir_body() -> Schema:
    """Returns the request body of a method that takes a resource."""
    types = (FHIR_CONTENT, "application/json")
    return {
        "required": True,
        "content": {kind: {"schema": _resource(), "example": deepcopy(_PATIENT)} for kind in types},
    }


def lines_body() -> Schema:
    """Returns the request body of a method that takes a file with a patient per line."""
    line = '{"name": "Ana", "email": "ana@clinic.test", "address": "1 High Street", "dateOfBirth": "1980-02-29"}\n'
    examples = {LINES: line, FHIR_LINES: f"{json.dumps(_PATIENT)}\n"}
    content = {
        kind: {"schema": {"type": "string", "pattern": r"\S"}, "example": example} for kind, example in examples.items()
    }
    return {"required": True, "content": content}


def fhir_success(method: Method, http: Http) -> Schema:
    """Returns the success response of a method by status, empty if the method is not part of the FHIR API."""
    if not method.is_fhir:
        return {}
    status = str(SUCCESSES.get(method.name, 200))
    if http.verb == "DELETE":
        return {status: {"description": "The resource was deleted."}}
    response = _response(method)
    if headers := _HEADERS.get(method.name):
        text = {"required": True, "schema": {"type": "string"}}
        response["headers"] = {name: {"description": each, **deepcopy(text)} for name, each in headers.items()}
    return {status: response}


def _response(method: Method) -> Schema:
    if method.streams:
        content: Schema = {FHIR_LINES: {"schema": {"type": "string"}}}
        return {"description": "The file, with a resource in each line.", "content": content}
    if method.name == "GetFhirExport":
        return {"description": "A manifest.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"description": "A FHIR resource.", "content": {FHIR_CONTENT: {"schema": _resource()}}}


def convert_error(method: Method, response: Schema) -> Schema:
    """Returns an error response of a method as the gateway converts it, if the method is part of the FHIR API.

    An error of a request that is not valid HTTP, which no route handles, is not converted.
    """
    if not method.is_fhir:
        return response
    [content] = response["content"].values()
    examples = {reason: {"value": _to_outcome(reason, each["value"])} for reason, each in content["examples"].items()}
    schema = {
        "type": "object",
        "description": "An OperationOutcome of FHIR R4.",
        "properties": {
            "resourceType": {"const": "OperationOutcome"},
            "issue": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        },
        "required": ["resourceType", "issue"],
    }
    outcome = {"schema": schema, "examples": examples}
    return response | {"content": {FHIR_CONTENT: outcome, **response["content"]}}


def _to_outcome(reason: str, error: dict[str, Any]) -> dict[str, Any]:
    details = {"coding": [{"system": FHIR_REASON, "code": reason}], "text": error["message"]}
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid", "details": details}]}
