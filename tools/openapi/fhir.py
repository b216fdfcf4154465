"""The error responses of the FHIR API: OperationOutcomes."""

from typing import Any

from services.common.protobuf.contract import FHIR_CONTENT, FHIR_REASON, Method
from tools.openapi.rules import Schema


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
