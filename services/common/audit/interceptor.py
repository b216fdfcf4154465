"""Records every call of an audited method, whatever its outcome."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc import StatusCode as Code

from services.common.audit.events import Access, AccessLog, current_access
from services.common.audit.tables import is_group_id
from services.common.context import Outcome, current_caller, current_request
from services.common.postgres.paging import effective_page_size
from services.common.protobuf.contract import PATH_VARIABLE, REMOTE_ADDRESS, AccessKind, Method
from services.common.rpc.interceptors import CallAudit, Context, Next
from services.common.rpc.metadata import read_metadata

MAX_QUERY_BYTES = 1024
"""The maximum length of a query in UTF-8. Longer queries are truncated and end with an ellipsis."""

_ELLIPSIS = "…"

_SUBJECT_FIELDS = ("subject_id", "patient_id")
_BATCH_FIELD = "requests"
"""The field of a batch method (AIP-231) that contains its requests."""

ReadIds = Callable[[Any], Iterable[str]]
"""Returns the ids of the subjects that a request names. They may be invalid."""


class AccessInterceptors:
    """Builds the interceptors that record the calls of a service."""

    def __init__(self, log: AccessLog, *, path_ids_are_subjects: bool) -> None:
        """Takes whether the ids in the REST paths of the service identify subjects."""
        self._log = log
        self._path_ids_are_subjects = path_ids_are_subjects

    def __call__(self, method: Method) -> "AccessInterceptor | None":
        """Returns the interceptor of a method, or None if the method does not concern personal data."""
        public_data = method.access.kind is AccessKind.PUBLIC and not method.input.DESCRIPTOR.fields
        if public_data or method.access.kind in {AccessKind.CLIENT_CREDENTIALS, AccessKind.INTERNAL}:
            return None
        return AccessInterceptor(self._log, method, self._find_subjects(method))

    def _find_subjects(self, method: Method) -> ReadIds | None:
        """Returns a function that reads the subjects from a request, or None if the method's requests name none."""
        request: Any = method.input.DESCRIPTOR
        if get := _get_subject_of(request):
            return lambda request: [get(request)]
        batch = request.fields_by_name.get(_BATCH_FIELD)
        if batch and (get_each := _get_subject_of(batch.message_type)):
            return lambda request: map(get_each, getattr(request, _BATCH_FIELD))
        variables = [name.strip("{}") for http in method.http for name in PATH_VARIABLE.findall(http.path)]
        ids = [name for name in variables if name.rpartition(".")[2] == "id"]
        if not ids or not self._path_ids_are_subjects:
            return None
        get_path_id = attrgetter(ids[0])
        return lambda request: [get_path_id(request)]


def _get_subject_of(message: Descriptor) -> Callable[[Any], str] | None:
    """Returns the getter of the field of a message that names its subject, or None if it has no such field."""
    return next((attrgetter(name) for name in _SUBJECT_FIELDS if name in message.fields_by_name), None)


class AccessInterceptor(CallAudit):
    """Records each call of a method with its outcome and the subjects that it read or requested.

    Calls that committed a change are already recorded by `record_change`.
    """

    def __init__(self, log: AccessLog, method: Method, read_subjects: ReadIds | None) -> None:
        self._log = log
        self._name = method.path.removeprefix("/")
        self._parse: Callable[[bytes], Message] = method.input.FromString
        self._is_list = is_list(method.input)
        self._read_subjects = read_subjects

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the method. Raises DependencyUnavailable if the buffer of events is full."""
        self._log.check_capacity()
        current_access.set(Access(self._log, self._name, _get_remote_address(context), request_or_iterator))
        return await method(request_or_iterator, context)

    def observe(self, outcome: Outcome) -> None:
        """Records the call, unless it was rejected because the buffer of events is full."""
        if (access := current_access.get(None)) is None:
            return
        if self._is_list:
            access.details = _get_query(outcome.code)
        if not access.is_recorded:
            self._log.record(outcome.code.name, access.subject_ids or self._requested_subjects(access.request))

    def _requested_subjects(self, request: bytes) -> list[UUID]:
        """Returns the subjects that a request names. Requests are parsed only for authorized callers."""
        if self._read_subjects is None:
            return []
        message = current_request.get()
        if message is None and current_caller.get() is None:
            return []
        try:
            subject_ids = self._read_subjects(self._parse(request) if message is None else message)
        except DecodeError:  # the call failed for that reason
            return []
        return [subject_id for text in dict.fromkeys(subject_ids) if (subject_id := _parse_subject(text))]


def _parse_subject(text: str) -> UUID | None:
    """Returns the id of a subject, or None if it is invalid, which is why the request failed."""
    try:
        subject_id = UUID(text)
    except ValueError:
        return None
    return None if is_group_id(subject_id) else subject_id


def _get_query(outcome: Code) -> str:
    """Returns the query of the current call, or an empty string if the call was rejected or the request was invalid."""
    message = current_request.get()
    return "" if message is None or outcome is Code.INVALID_ARGUMENT else format_query(message)


def _get_remote_address(context: Context) -> str:
    """Returns the client address that the gateway reports, or the peer address of a direct call."""
    if addresses := read_metadata(REMOTE_ADDRESS):
        return addresses[0][:64]
    address = unquote(context.peer()).partition(":")[2]  # ipv4:127.0.0.1:50051, ipv6:[::1]:50051
    return address.rpartition(":")[0].strip("[]")


def is_list(request: type[Message]) -> bool:
    """Returns whether a method with this request is a paginated list."""
    return "page_token" in request.DESCRIPTOR.fields_by_name


def format_query(request: Message) -> str:
    """Returns the query of a list request as JSON: every field that is set, except the page token."""
    fields: dict[str, Any] = {field.name: _convert_value(field, value) for field, value in request.ListFields()}
    fields.pop("page_token", None)
    fields["page_size"] = effective_page_size(fields.get("page_size", 0))
    query = msgspec.json.encode(fields, enc_hook=str)
    if len(query) > MAX_QUERY_BYTES:
        cut = query[: MAX_QUERY_BYTES - len(_ELLIPSIS.encode())]
        return cut.decode(errors="ignore") + _ELLIPSIS
    return query.decode()


def _convert_value(field: FieldDescriptor, value: Any) -> object:
    """Returns the JSON value of a field. Enum values are represented by name."""
    known = field.enum_type.values_by_number.get(value) if field.enum_type else None
    return known.name if known else value
