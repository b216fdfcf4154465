"""The metadata of the current call."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import grpc

_MAX_USER_AGENT = 256
_NONE: Mapping[str, Sequence[str]] = MappingProxyType({})

_current_metadata: ContextVar[Mapping[str, Sequence[str]]] = ContextVar("metadata", default=_NONE)
"""The values of each metadata key of the current call."""


class Handlers(grpc.GenericRpcHandler):
    """The handlers of a service's methods. Each is called in a context that has the metadata of the call.

    grpc converts the metadata before it looks up the handler of a call, and converts it again each time a handler asks
    for it. That costs as much as all other work of the interceptors.
    """

    def __init__(self, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        """Takes the handlers by path: "/pulsetrack.patient.v1.PatientService/GetPatient"."""
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Returns the handler of a call, or None for an unknown method. grpc.aio calls this in the task of the call."""
        if handler := self._handlers.get(handler_call_details.method):
            _current_metadata.set(_group_values(handler_call_details.invocation_metadata))
        return handler


def read_metadata(key: str) -> Sequence[str]:
    """Returns the values of a metadata key of the current call."""
    return _current_metadata.get().get(key, ())


def read_user_agent() -> str:
    """Returns the `user-agent` header of the client of the current call, at most 256 characters."""
    return "".join(read_metadata("user-agent"))[:_MAX_USER_AGENT]


def _group_values(metadata: Sequence[tuple[str, str | bytes]]) -> Mapping[str, Sequence[str]]:
    values: dict[str, list[str]] = {}
    for key, value in metadata:
        text = value if isinstance(value, str) else value.decode("ascii", "replace")
        values.setdefault(key, []).append(text)
    return values
