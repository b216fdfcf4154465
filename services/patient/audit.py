"""The audit: every call of the service leaves an access event, whatever becomes of it."""

from asyncio import CancelledError
from collections.abc import Callable
from operator import attrgetter
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from google.protobuf.message import DecodeError
from grpc import StatusCode as Code
from grpc_interceptor.server import AsyncServerInterceptor

from services.common.contract import PATH_VARIABLE, REMOTE_ADDRESS, Method
from services.common.errors import Failure
from services.common.interceptors import Context, Next
from services.patient.accesses import Access, Accesses, access_of_call


class Audit(AsyncServerInterceptor):
    """Records each call with its outcome and the patients that it asked for or read, unless its change did so."""

    def __init__(self, accesses: Accesses, method: Method) -> None:
        self._accesses = accesses
        self._name = method.path.removeprefix("/")
        self._asked_for = _asked_for(method)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises DependencyUnavailable if too many events wait for the database."""
        self._accesses.admit()
        access = Access(self._name, _remote_address(context))
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
            if not access.recorded:
                self._accesses.record(outcome.name, access.patient_ids or self._asked_for(request_or_iterator))
        return answer


def _asked_for(method: Method) -> Callable[[bytes], list[UUID]]:
    """Returns what finds the patient whom a request is about: the one that the method's REST path names, if any."""
    variables = [name.strip("{}") for http in method.http for name in PATH_VARIABLE.findall(http.path)]
    if not variables:
        return lambda _: []
    parse, id_of = method.input.FromString, attrgetter(variables[0])

    def asked_for(request: bytes) -> list[UUID]:
        try:
            return [UUID(id_of(parse(request)))]
        except (DecodeError, ValueError):  # the call was refused for it
            return []

    return asked_for


def _remote_address(context: Context) -> str:
    """Returns whom the gateway was called by, or whom this port was called by without the gateway."""
    for key, value in context.invocation_metadata() or ():
        if key == REMOTE_ADDRESS:
            return str(value)[:64]
    address = unquote(context.peer()).partition(":")[2]  # ipv4:127.0.0.1:50051, ipv6:[::1]:50051
    return address.rpartition(":")[0].strip("[]")
