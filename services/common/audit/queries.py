"""The query of a list, as its access event names it.

An event's column `method` holds the method and, behind a space, the query. The query has no column of its own: while
services are replaced, the version before may seal the events of this one, and covers only the columns that it knows.
"""

from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.common.postgres.paging import DEFAULT_PAGE_SIZE

LONGEST_QUERY = 256
"""The most bytes of a query, in UTF-8. A longer one is cut, and ends with an ellipsis."""

_ELLIPSIS = "…"


def is_list(request: type[Message]) -> bool:
    """Returns whether a method with this request lists something in pages."""
    return "page_token" in request.DESCRIPTOR.fields_by_name


def query_of(request: Message) -> str:
    """Returns what the request of a list asks for, as JSON: every field that is set, but no page token."""
    fields = {field.name: _value(field, value) for field, value in request.ListFields()}
    fields.pop("page_token", None)
    fields.setdefault("page_size", DEFAULT_PAGE_SIZE)
    query = msgspec.json.encode(fields, enc_hook=str)
    if len(query) > LONGEST_QUERY:
        cut = query[: LONGEST_QUERY - len(_ELLIPSIS.encode())]
        return cut.decode(errors="ignore") + _ELLIPSIS
    return query.decode()


def join_call(method: str, query: str) -> str:
    """Returns the text that stands for a call in the events' table."""
    return f"{method} {query}" if query else method


def split_call(call: str) -> tuple[str, str]:
    """Returns the method and the query that a text of the events' table stands for; the query may be empty."""
    method, _, query = call.partition(" ")
    return method, query


def _value(field: FieldDescriptor, value: Any) -> object:
    """Returns the value of a field as JSON has it: an enum's by its name."""
    known = field.enum_type.values_by_number.get(value) if field.enum_type else None
    return known.name if known else value
