"""How a call can fail: the errors of each method, its own and those that any call may meet."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from google.rpc import code_pb2

from envoy.replies import REPLIES
from services.common import errors
from services.common.contract import SERVICES, ContractError, Door, Http, Method
from services.common.errors import DOMAIN, Failure
from tools.openapi.rules import Schema

STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status that the gateway's transcoder makes of each code."""

_CLAUSE = re.compile(r"\bwith ([A-Z_]+): ([A-Z_]+(?:, [A-Z_]+)*)")
_RETRIES = {429, 503}
_GATEWAY = {reply.reason: reply for reply in REPLIES}
_PHRASES = {
    400: "The request is not right",
    401: "Who calls is not known",
    403: "The caller may not do this",
    404: "There is no such thing",
    409: "What is there stands against it",
    413: "The body is too long",
    415: "The body is no JSON",
    429: "Too many calls",
    500: "Something went wrong",
    503: "A part of the system is not available",
    504: "The call took too long",
}


@dataclass(frozen=True)
class Error:
    """An error that a call may be answered with."""

    http: int
    code: int
    reason: str
    message: str


def said(comment: str) -> Iterator[tuple[str, str]]:
    """Yields the code and the reason of each error that a method's comment names behind "Fails with"."""
    _, _, clauses = comment.partition("Fails ")
    for code, reasons in _CLAUSE.findall(clauses):
        for reason in reasons.split(", "):
            yield code, reason


def failures(service: str) -> dict[str, type[Failure]]:
    """Returns what a service, by its full name, may refuse with, by the reason."""
    [name] = [short for short, full_name in SERVICES.items() if full_name == service]
    own = import_module(f"services.{name}.errors")
    found = [value for module in (errors, own) for value in vars(module).values() if isinstance(value, type)]
    return {kind.reason: kind for kind in found if issubclass(kind, Failure) and hasattr(kind, "reason")}


class Responses:
    """The responses that are errors. Those that no method has for itself are kept once, as components."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {"Failed": _failed()}
        """They, by the names of their errors."""

    def of(self, method: Method, http: Http, comment: str) -> dict[str, Schema]:
        """Returns the responses of a method, by the HTTP status. Raises ContractError."""
        own, anyones = [*_own(method, comment)], [*_anyones(method, http)]
        found: dict[int, dict[str, Error]] = defaultdict(dict)
        for error in (*own, *anyones):
            found[error.http].setdefault(error.reason, error)  # a method's own, if it has one for the same reason
        mine = {error.http for error in own}
        responses: dict[str, Schema] = {}
        for status in sorted(found):
            same = [*found[status].values()]
            responses[str(status)] = _response(status, same) if status in mine else self._shared(status, same)
        return {**responses, "default": _reference("Failed")}

    def _shared(self, status: int, found: list[Error]) -> Schema:
        name = ".".join(error.reason for error in found)
        self.components.setdefault(name, _response(status, found))
        return _reference(name)


def _own(method: Method, comment: str) -> Iterator[Error]:
    known = failures(method.path.split("/")[1])
    for code, reason in said(comment):
        failure = known.get(reason)
        if failure is None or failure.code.name != code:
            raise ContractError(f"{method.name} is said to fail with {code}: {reason}, which its service does not know")
        yield _error(failure)


def _anyones(method: Method, http: Http) -> Iterator[Error]:
    """Yields the errors of what stands before a handler: the gateway, and the interceptors."""
    fields = method.input.DESCRIPTOR.fields
    if fields:
        yield _error(errors.FieldsInvalid)
    reasons = ["REQUEST_INVALID", "QUERY_PARAMETER_UNKNOWN", *(["QUERY_PARAMETER_INVALID"] if fields else [])]
    if http.body:
        reasons += ["JSON_INVALID", "BODY_TOO_LARGE", "CONTENT_TYPE_UNSUPPORTED"]
    if method.access.door is Door.PEOPLE:
        reasons += ["TOKEN_MISSING", "TOKEN_INVALID"]
        yield _error(errors.UserDisabled)
        if "USER" not in method.access.roles:
            yield _error(errors.RoleRequired)
    if http.verb != "get":
        yield _error(errors.TransactionConflict)
    for reason in (*reasons, "RATE_LIMITED", "INTERNAL", "DEPENDENCY_UNAVAILABLE", "CALL_TOO_SLOW"):
        reply = _GATEWAY[reason]
        yield Error(reply.http, reply.code, reason, reply.message)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/responses/{name}"}


def _error(failure: type[Failure]) -> Error:
    return Error(STATUSES[failure.code.name], failure.code.value[0], failure.reason, failure.message)


def _failed() -> Schema:
    """Returns the response for whatever else may happen."""
    unknown = Error(500, code_pb2.UNKNOWN, "UNKNOWN", "Something is not as it should be.")
    content = {"schema": {"$ref": "#/components/schemas/Status"}, "example": _example(unknown)}
    return {"description": "The call fails in another way.", "content": {"application/json": content}}


def _response(status: int, found: list[Error]) -> Schema:
    reasons = ", ".join(f"`{error.reason}`" for error in found)
    content = {
        "schema": {"$ref": "#/components/schemas/Status"},
        "examples": {error.reason: {"value": _example(error)} for error in found},
    }
    response: Schema = {
        "description": f"{_PHRASES.get(status, 'The call fails')}: {reasons}.",
        "content": {"application/json": content},
    }
    if status in _RETRIES:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response


def _example(error: Error) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.reason, "domain": DOMAIN}
    details: list[dict[str, Any]] = [info]
    if error.reason == errors.FieldsInvalid.reason:
        violation = {"field": "patient.email", "description": "must be a valid email address"}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    return {"code": error.code, "message": error.message, "details": details}


def _detail(name: str, description: str, properties: dict[str, Schema], *required: str) -> Schema:
    kind = {"const": f"type.googleapis.com/google.rpc.{name}"}
    return {
        "type": "object",
        "title": name,
        "description": description,
        "properties": {"@type": kind, **properties},
        "required": ["@type", *required],
    }


_TEXT = {"type": "string"}
_VIOLATION = {"type": "object", "properties": {"field": _TEXT, "description": _TEXT}}
STATUS: Schema = {
    "type": "object",
    "description": "An error: a google.rpc.Status, whoever made it.",
    "properties": {
        "code": {
            "type": "integer",
            "description": "The gRPC code.",
            "minimum": 1,
            "maximum": max(code_pb2.Code.values()),
        },
        "message": {"type": "string", "description": "What went wrong, for people."},
        "details": {
            "type": "array",
            "description": "What went wrong, for programs.",
            "items": {
                "anyOf": [
                    _detail(
                        "ErrorInfo",
                        "Which error it is: act on the reason.",
                        {
                            "reason": {"type": "string", "pattern": "^[A-Z][A-Z_]+$"},
                            "domain": {"const": DOMAIN},
                            "metadata": {"type": "object", "additionalProperties": _TEXT},
                        },
                        "reason",
                        "domain",
                    ),
                    _detail(
                        "BadRequest",
                        "Which fields break their rules.",
                        {"fieldViolations": {"type": "array", "items": _VIOLATION}},
                    ),
                    _detail(
                        "RetryInfo",
                        "After how long the call may be tried again.",
                        {"retryDelay": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"}},
                    ),
                    _detail("RequestInfo", "What to tell the operator.", {"requestId": _TEXT}),
                ]
            },
        },
    },
    "required": ["code", "message", "details"],
}
"""The schema of the body of every error."""
