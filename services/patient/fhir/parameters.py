"""The parameters of requests of FHIR R4, which are the query of a URL."""

from urllib.parse import parse_qsl

import msgspec

from services.common.audit.events import current_access
from services.common.errors import FieldsInvalid


def parse_parameters(query: str) -> list[tuple[str, str]]:
    """Returns the names and values of a query. Raises FieldsInvalid."""
    try:
        return parse_qsl(query, strict_parsing=bool(query), keep_blank_values=True, errors="strict", max_num_fields=30)
    except ValueError:
        raise invalid("the query is not valid") from None


def record_query(query: str) -> None:
    """Adds the parameters to the event of the current call."""
    current_access.get().details = msgspec.json.encode({"query": query[:200]}).decode()


def is_not_supported(name: str) -> FieldsInvalid:
    """Returns the error of a parameter that is not supported."""
    return invalid(f"the parameter {name[:50]!r} is not supported")


def has_no_value(name: str) -> FieldsInvalid:
    """Returns the error of a parameter without a value."""
    return invalid(f"{name[:50]} must have a value")


def invalid(description: str) -> FieldsInvalid:
    """Returns the error of invalid parameters."""
    return FieldsInvalid({"parameters": description})
