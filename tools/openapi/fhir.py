"""The FHIR API: resources as bodies, and OperationOutcomes as error responses."""

import json
from copy import deepcopy
from typing import Any

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
_LOCATION: Schema = {"description": "The URL of the version.", "required": True, "schema": {"type": "string"}}


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
    if http.verb == "DELETE":
        return {"204": {"description": "The patient was deleted."}}
    response: Schema = {"description": "A FHIR resource.", "content": {FHIR_CONTENT: {"schema": _resource()}}}
    if http.verb == "POST":
        return {"201": response | {"headers": {"Location": deepcopy(_LOCATION)}}}
    return {"200": response}


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
