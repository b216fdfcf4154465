"""The interceptor that records every call of an audited method, whatever its outcome."""

from asyncio import CancelledError
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from google.protobuf.message import DecodeError, Message
from grpc import StatusCode as Code
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.audit.events import Access, AccessLog, access_of_call
from services.common.audit.groups import is_group
from services.common.audit.queries import is_list, query_of
from services.common.context import current_caller, current_request
from services.common.errors import Failure
from services.common.protobuf.contract import PATH_VARIABLE, REMOTE_ADDRESS, Door, Method
from services.common.rpc.interceptors import Context, Next

_SUBJECT_FIELDS = ("subject_id", "patient_id")


class Recorders:
    """Makes the interceptors that record a service's calls."""

    def __init__(self, log: AccessLog, *, of_people: bool) -> None:
        """Takes whether the ids in the service's REST paths are those of people."""
        self._log = log
        self._of_people = of_people

    def __call__(self, method: Method) -> Sequence[AsyncServerInterceptor]:
        """Returns the interceptor of a method, none if it concerns no person's data."""
        public_data = method.access.door is Door.PUBLIC and not method.input.DESCRIPTOR.fields
        if public_data or method.access.door in {Door.CLIENT_CREDENTIALS, Door.INTERNAL}:
            return ()
        return (Recorder(self._log, method, self._subject_field(method)),)

    def _subject_field(self, method: Method) -> str | None:
        """Returns the path of the field in which a request names the person that it is about, if there is one."""
        for name in _SUBJECT_FIELDS:
            if name in method.input.DESCRIPTOR.fields_by_name:
                return name
        variables = [name.strip("{}") for http in method.http for name in PATH_VARIABLE.findall(http.path)]
        return variables[0] if variables and self._of_people else None


class Recorder(AsyncServerInterceptor):
    """Records each call of a method with its outcome and the people whose data it asked for or read.

    A change that was committed has recorded its call itself.
    """

    def __init__(self, log: AccessLog, method: Method, subject_field: str | None) -> None:
        self._log = log
        self._name = method.path.removeprefix("/")
        self._parse: Callable[[bytes], Message] = method.input.FromString
        self._is_list = is_list(method.input)
        self._subject_of = attrgetter(subject_field) if subject_field else None

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises DependencyUnavailable if too many events wait for the database."""
        self._log.admit()
        access = Access(self._log, self._name, _remote_address(context))
        access_of_call.set(access)
        outcome = Code.INTERNAL
        try:
            answer = await method(request_or_iterator, context)
            outcome = Code.OK
        except Failure as failure:
            outcome = failure.code
            raise
        except CancelledError:
            outcome = Code.CANCELLED
            raise
        finally:
            if self._is_list:
                access.query = _query(outcome)
            if not access.recorded:
                self._log.record(outcome.name, access.subject_ids or self._asked_for(request_or_iterator))
        return answer

    def _asked_for(self, request: bytes) -> list[UUID]:
        """Returns the person whom a request names, if any. The request of an unknown caller is not parsed for it."""
        if self._subject_of is None:
            return []
        message = current_request.get()
        if message is None and current_caller.get() is None:
            return []
        try:
            subject_id = UUID(self._subject_of(self._parse(request) if message is None else message))
        except (DecodeError, ValueError):  # the call was refused for it
            return []
        return [] if is_group(subject_id) else [subject_id]


def _query(outcome: Code) -> str:
    """Returns the query of the call under way, empty if the caller was refused or the request was invalid."""
    message = current_request.get()
    return "" if message is None or outcome is Code.INVALID_ARGUMENT else query_of(message)


def _remote_address(context: Context) -> str:
    """Returns the address that the gateway was called from, or that this port was called from without the gateway."""
    for key, value in context.invocation_metadata() or ():
        if key == REMOTE_ADDRESS:
            return str(value)[:64]
    address = unquote(context.peer()).partition(":")[2]  # ipv4:127.0.0.1:50051, ipv6:[::1]:50051
    return address.rpartition(":")[0].strip("[]")
