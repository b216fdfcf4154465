"""Builds the schemas of error responses: google.rpc.Status and its details."""

from typing import Any

from google.rpc import code_pb2

from services.common.errors import DOMAIN
from tools.openapi.rules import Schema


def status_schemas() -> dict[str, Schema]:
    """Returns the schema of every error response body, and those to which it refers, by name."""
    details = _details()
    status: Schema = {
        "type": "object",
        "description": "An error, in the format of `google.rpc.Status`.",
        "properties": {
            "code": {
                "type": "integer",
                "description": "The gRPC status code.",
                "minimum": 1,
                "maximum": max(code_pb2.Code.values()),
            },
            "message": _text("A description of the error for developers. Do not parse it."),
            "details": {
                "type": "array",
                "description": "Machine-readable details of the error. One of them is an ErrorInfo.",
                "items": {"anyOf": [_reference(name) for name in details]},
            },
        },
        "required": ["code", "message", "details"],
    }
    return {"Status": status, "FieldViolation": _violation(), **details}


def _details() -> dict[str, Schema]:
    violations = {"type": "array", "description": "The invalid fields.", "items": _reference("FieldViolation")}
    return {
        "ErrorInfo": _detail(
            "ErrorInfo",
            "Identifies the error. Handle errors by `reason`.",
            reason=_text("The reason of the error.", pattern="^[A-Z][A-Z_]+$"),
            domain=_text("The source of the error.", const=DOMAIN),
            metadata={
                "type": "object",
                "description": "Further facts about the error.",
                "additionalProperties": {"type": "string"},
            },
        ),
        "BadRequest": _detail("BadRequest", "Lists the invalid fields of the request.", fieldViolations=violations),
        "RetryInfo": _detail(
            "RetryInfo",
            "The minimum delay before a retry.",
            retryDelay=_text("A number of seconds, such as `1.5s`.", pattern=r"^[0-9]+(\.[0-9]+)?s$"),
        ),
        "RequestInfo": _detail(
            "RequestInfo",
            "Identifies the request. Include `requestId` in support requests.",
            requestId=_text("The ID of the request."),
        ),
    }


def _detail(name: str, description: str, **properties: Schema) -> Schema:
    """Returns the schema of a google.rpc message in an Any: `@type` tells the details apart."""
    kind = _text("The type of this detail.", const=f"type.googleapis.com/google.rpc.{name}")
    return {
        "type": "object",
        "description": description,
        "properties": {"@type": kind, **properties},
        "required": ["@type", *properties],
    }


def _violation() -> Schema:
    return {
        "type": "object",
        "description": "An invalid field.",
        "properties": {
            "field": _text("The name of the field in the body, path or query of the request."),
            "description": _text("A sentence that says what is wrong."),
            "reason": _text("Not used: always empty."),
        },
        "required": ["field", "description", "reason"],
    }


def _text(description: str, **keywords: Any) -> Schema:
    return {"type": "string", "description": description, **keywords}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
