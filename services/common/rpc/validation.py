"""Validation of requests, and the names of invalid fields: all violations at once, as the client wrote the fields."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import protovalidate
from google.protobuf.message import Message
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.errors import FieldsInvalid
from services.common.protobuf.contract import RAW_BODY, Method
from services.common.protobuf.texts import create_email_check
from services.common.protobuf.violations import check_pattern_messages, describe_violations, find_time_violations
from services.common.rpc.interceptors import Context, Next
from services.common.rpc.metadata import read_metadata

Check = Callable[[Message], Awaitable[Mapping[str, str]]]
"""Returns the violations that a handler would report for a request, by field path, without its database."""

ORIGINAL_PATH = "x-envoy-original-path"
"""The header with the path of a REST call. The gateway sets it when it transcodes the call, and removes a client's."""

_KEYS_DIFFER = "must equal the Idempotency-Key header if both are set"

_validator = protovalidate.Validator()


class Validation(AsyncServerInterceptor):
    """Validates the request against the buf.validate rules of its proto, and its email addresses.

    Copies the Idempotency-Key header into the field `request_id` (AIP-155), if the request has one.
    """

    def __init__(self, method: Method, check: Check | None = None) -> None:
        """Takes the check of the handler, which only runs to complete the violations of an invalid request."""
        self._check = check
        self._has_request_id = "request_id" in method.input.DESCRIPTOR.fields_by_name
        message: Any = method.input.DESCRIPTOR
        check_pattern_messages(message)
        _find_violations(method.input())  # compiles the rules at start-up instead of in the first call

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor. Raises FieldsInvalid."""
        found = _take_request_id(request_or_iterator) if self._has_request_id else {}
        if found := found | _find_violations(request_or_iterator):
            raise FieldsInvalid(await self._complete(request_or_iterator, found))
        return await method(request_or_iterator, context)

    async def _complete(self, request: Message, found: dict[str, str]) -> dict[str, str]:
        """Returns the violations with those that the handler would report of other fields."""
        more: Mapping[str, str] = dict(find_time_violations(request))
        if self._check and not more:
            more = await self._check(request)
        found = {**more, **found}
        return {path: text for path, text in found.items() if not any(other.startswith(f"{path}.") for other in found)}


def validate_message(message: Message) -> None:
    """Validates a message as `Validation` does, without the check of a handler. Raises FieldsInvalid."""
    if found := _find_violations(message):
        raise FieldsInvalid(found)


def _find_violations(message: Message) -> dict[str, str]:
    found = create_email_check(message.DESCRIPTOR)(message)
    if violations := _validator.collect_violations(message):
        found |= describe_violations(message, violations)
    return found


def _take_request_id(request: Any) -> dict[str, str]:
    """Sets the request id to that of the header. Returns the violation if both are set and differ."""
    ids = {*read_metadata("idempotency-key"), request.request_id} - {""}
    if len(ids) > 1:
        return {"request_id": _KEYS_DIFFER}
    request.request_id = "".join(ids)
    return {}


class FieldNames(AsyncServerInterceptor):
    """Names invalid fields as the client wrote them: in REST by JSON names, relative to the body."""

    def __init__(self, method: Method) -> None:
        self._message: Any = method.input.DESCRIPTOR
        bodies = {http.body for http in method.http} - {"", "*"}
        self._prefixes = [f"{self._message.fields_by_name[body].json_name}." for body in bodies]

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor. Renames the fields of a FieldsInvalid."""
        try:
            return await method(request_or_iterator, context)
        except FieldsInvalid as failure:
            if targets := read_metadata(ORIGINAL_PATH):
                named = {self._rest_name(path, targets[0]): text for path, text in failure.violations.items()}
                failure.violations = named
            raise

    def _rest_name(self, path: str, target: str) -> str:
        """Returns the name of a field in the REST call with a path and query. A query may use the proto name."""
        if re.search(rf"[?&]{re.escape(path)}=", target):
            return path
        name = _json_path(self._message, path)
        for prefix in self._prefixes:
            name = name.removeprefix(prefix)
        return name


def _json_path(message: Any, path: str) -> str:
    """Returns a field path of a message with JSON names: `patient.dateOfBirth`, `users[0].email`."""
    names: list[str] = []
    for part in path.split("."):
        if message.full_name == RAW_BODY:  # the names of its content are those of the client
            names.append(part)
            continue
        name, bracket, index = part.partition("[")
        field = message.fields_by_name[name]
        names.append(f"{field.json_name}{bracket}{index}")
        message = field.message_type
    return ".".join(names)
