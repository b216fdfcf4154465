"""Builds the error responses of each method: its own errors, and those of the gateway and the interceptors."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from google.rpc import code_pb2

from envoy.fhir import STATUSES as FHIR_STATUSES
from envoy.replies import REPLIES
from services.common import errors
from services.common.errors import DOMAIN, Failure
from services.common.protobuf.contract import IF_MATCH, SERVICES, AccessKind, ContractError, Http, Method
from tools.openapi.fhir import convert_error
from tools.openapi.rules import Schema
from tools.openapi.security import add_oauth_members

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
"""The HTTP status to which the gateway maps each gRPC status code."""

_ITEM = re.compile(r"^- ([A-Z_]+): ([A-Z_]+(?:, [A-Z_]+)*)", re.MULTILINE)
_RETRYABLE = {429, 503}
_GATEWAY = {reply.reason: reply for reply in REPLIES}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True)
class Error:
    """An error that a method can return."""

    http: int
    code: int
    reason: str
    message: str


def parse_errors(comment: str) -> Iterator[tuple[str, str]]:
    """Yields the code and the reason of each error in the "Fails with:" list of a method's comment."""
    _, _, items = comment.partition("Fails with:\n")
    for code, reasons in _ITEM.findall(items):
        for reason in reasons.split(", "):
            yield code, reason


def find_failures(service: str) -> dict[str, type[Failure]]:
    """Returns the failures that a service, given by its full name, can raise, by reason."""
    [name] = [short for short, full_name in SERVICES.items() if full_name == service]
    own = import_module(f"services.{name}.errors")
    classes = [value for module in (errors, own) for value in vars(module).values() if isinstance(value, type)]
    return {cls.reason: cls for cls in classes if issubclass(cls, Failure) and hasattr(cls, "reason")}


class Responses:
    """Builds error responses. Responses without method-specific errors are shared as components."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {"Failed": _default_response()}
        """The shared responses. The key is the list of reasons."""

    def build(self, method: Method, http: Http, comment: str) -> dict[str, Schema]:
        """Returns the error responses of a method, by HTTP status.

        Raises ContractError if the comment lists an error that the service does not define.
        """
        own = [*_method_errors(method, comment), *_precondition_errors(method, http)]
        common = [*_common_errors(method, http)]
        by_status: dict[int, dict[str, Error]] = defaultdict(dict)
        for error in (*own, *common):
            by_status[error.http].setdefault(error.reason, error)  # the method's own error has precedence
        own_statuses = {error.http for error in own}
        responses: dict[str, Schema] = {}
        for status in sorted(by_status):
            found = [*by_status[status].values()]
            is_own = status in own_statuses or method.is_oauth_endpoint or method.is_fhir
            response = _adapt(method, _response(status, found)) if is_own else self._share(status, found)
            responses[str(status)] = response
        return {**responses, "default": _reference("Failed")}

    def _share(self, status: int, found: list[Error]) -> Schema:
        name = ".".join(error.reason for error in found)
        self.components.setdefault(name, _response(status, found))
        return _reference(name)


def _adapt(method: Method, response: Schema) -> Schema:
    return convert_error(method, add_oauth_members(method, response))


def _method_errors(method: Method, comment: str) -> Iterator[Error]:
    known = find_failures(method.path.split("/")[1])
    for code, reason in parse_errors(comment):
        failure = known.get(reason)
        if failure is None or failure.code.name != code:
            raise ContractError(f"{method.name} lists the error {code}: {reason}, which its service does not define")
        error = _error(failure)
        yield replace(error, http=FHIR_STATUSES.get(reason, error.http)) if method.is_fhir else error


def _precondition_errors(method: Method, http: Http) -> Iterator[Error]:
    """Yields the error of a call whose If-Match has no current etag. The gateway changes its status."""
    if method.condition(http) == IF_MATCH:
        mismatch = _error(find_failures(method.path.split("/")[1])["ETAG_MISMATCH"])
        yield replace(mismatch, http=412)


def _common_errors(method: Method, http: Http) -> Iterator[Error]:
    """Yields the errors that the gateway and the interceptors return before the handler runs."""
    fields = method.input.DESCRIPTOR.fields
    if fields:
        yield _error(errors.FieldsInvalid)
    reasons = ["REQUEST_INVALID", "QUERY_PARAMETER_UNKNOWN", *(["QUERY_PARAMETER_INVALID"] if fields else [])]
    if http.body:
        reasons += ["JSON_INVALID", "BODY_TOO_LARGE", "CONTENT_TYPE_UNSUPPORTED"]
    if method.access.kind is AccessKind.USERS:
        reasons += ["TOKEN_MISSING", "TOKEN_INVALID"]
        yield _error(errors.UserDisabled)
        if (service := method.path.split("/")[1]) == SERVICES["auth"]:
            yield _error(find_failures(service)["USER_EXTERNAL"])
        if method.access.scope:
            yield _error(errors.ScopeRequired)
        if "USER" not in method.access.roles:
            yield _error(errors.RoleRequired)
    if http.verb != "GET":
        yield _error(errors.TransactionConflict)
    for reason in (*reasons, "RATE_LIMITED", "INTERNAL", "DEPENDENCY_UNAVAILABLE", "CALL_TOO_SLOW"):
        reply = _GATEWAY[reason]
        yield Error(reply.http, reply.code, reason, reply.message)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/responses/{name}"}


def _error(failure: type[Failure]) -> Error:
    return Error(STATUSES[failure.code.name], failure.code.value[0], failure.reason, failure.message)


def _default_response() -> Schema:
    """Returns the response for unexpected errors."""
    unknown = Error(500, code_pb2.UNKNOWN, "UNKNOWN", "Unknown error.")
    content = {"schema": {"$ref": "#/components/schemas/Status"}, "example": _example(unknown)}
    return {"description": "Unexpected error.", "content": {"application/json": content}}


def _response(status: int, found: list[Error]) -> Schema:
    reasons = ", ".join(f"`{error.reason}`" for error in found)
    content = {
        "schema": {"$ref": "#/components/schemas/Status"},
        "examples": {error.reason: {"value": _example(error)} for error in found},
    }
    response: Schema = {
        "description": f"{_TITLES[status]}. Reasons: {reasons}.",
        "content": {"application/json": content},
    }
    if status in _RETRYABLE:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response


def _example(error: Error) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.reason, "domain": DOMAIN}
    details: list[dict[str, Any]] = [{**info, "metadata": {}}]
    if error.reason == errors.FieldsInvalid.reason:
        violation = {"field": "email", "description": "must be a valid email address", "reason": ""}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    return {"code": error.code, "message": error.message, "details": details}
