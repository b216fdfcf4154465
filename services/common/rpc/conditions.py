"""The condition of a change: the etags that the resource may have (AIP-154; RFC 9110, section 13)."""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from services.common.errors import FieldsInvalid
from services.common.protobuf.contract import ETAG, IF_MATCH, Method
from services.common.rpc.interceptors import Context, Next
from services.common.rpc.metadata import read_metadata

_ETAG = re.compile(r'(W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Condition:
    """The etags of which a resource must have one, or None if any version may be changed."""

    etags: frozenset[str] | None = None

    def accepts(self, etag: str) -> bool:
        """Returns whether a resource with this etag meets the condition."""
        return self.etags is None or etag in self.etags


current_condition: ContextVar[Condition] = ContextVar("condition")
"""The condition of the current call."""


class IfMatch(AsyncServerInterceptor):
    """Sets the condition of a call from its If-Match header and the etag in the request."""

    def __init__(self, method: Method) -> None:
        self._field = _find_etag(method.input.DESCRIPTOR)
        self._etag_of = attrgetter(self._field) if self._field else lambda _: ""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor. Raises FieldsInvalid if the header does not accept the etag in the request."""
        condition, etag = parse_if_match(read_metadata(IF_MATCH)), self._etag_of(request_or_iterator)
        if etag:
            if not condition.accepts(etag):
                raise FieldsInvalid({self._field: "must match the If-Match header if both are set"})
            condition = Condition(frozenset({etag}))
        current_condition.set(condition)
        return await method(request_or_iterator, context)


def parse_if_match(values: Sequence[str]) -> Condition:
    """Returns the condition of the If-Match headers, whose syntax the gateway has checked.

    A weak etag matches no resource (RFC 9110, section 13.1.1). `*` matches every resource that exists.
    """
    text = ",".join(values).strip()
    if not values or text == "*":
        return Condition()
    return Condition(frozenset(tag for weak, tag in _ETAG.findall(text) if not weak))


def _find_etag(request: Any) -> str:
    """Returns the path of the etag in a request or in the resource that it contains, or an empty string."""
    if ETAG in request.fields_by_name:
        return ETAG
    resources = [
        field.name for field in request.fields if field.message_type and ETAG in field.message_type.fields_by_name
    ]
    return f"{resources[0]}.{ETAG}" if resources else ""
