"""Query parameters of REST requests: which a route accepts, and a Lua filter that names the others."""

from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from envoy.extension import Config, extension, to_any
from envoy.names import QUERY
from services.common.protobuf.contract import PATH_VARIABLE, Http, Method, all_methods
from services.common.protobuf.violations import describe_enum

_VIOLATIONS, _SCRIPT = Path(__file__).with_name("violations.lua"), Path(__file__).with_suffix(".lua")
_ESCAPED = "[^&]*[%+][^&]*"
"""A value with escapes, which the transcoder judges."""
_NEVER = r"[^\s\S]"
"""A regular expression that matches nothing."""
_BOOLEANS = ("true", "false", "t", "f", "yes", "no", "y", "n", "1", "0")


class _Values(NamedTuple):
    """The valid values of a parameter. Some invalid values match too: the transcoder rejects them."""

    sentence: str
    regex: str
    """For a route (RE2)."""
    patterns: tuple[str, ...]
    """For Lua."""


_INTEGER = _Values("must be an integer", "-?[0-9]{1,10}", ("^%-?%d%d?%d?%d?%d?%d?%d?%d?%d?%d?$",))
_BOOLEAN = _Values(
    "must be true or false",
    f"(?i:{'|'.join(_BOOLEANS)})",
    tuple(f"^{''.join(f'[{letter}{letter.upper()}]' for letter in value)}$" for value in _BOOLEANS),
)
_TIME = _Values("must be a time such as 2026-01-31T09:00:00Z (RFC 3339)", "[0-9]{4}-[^&]*", ("^%d%d%d%d%-",))
_TEXT = _Values("must have a value", "[^&]*", ("",))


def query_filter() -> Config:
    """Returns the filter, which is disabled. `query_check` enables it for a route."""
    methods = "".join(_method(method, http) for method in all_methods() for http in method.http)
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in (_VIOLATIONS, _SCRIPT))
    source = {"inline_string": f"local PARAMETERS = {{{methods}}}\n{scripts}"}
    return extension(QUERY, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def query_check(method: Method) -> Config:
    """Returns the options of a route that rejects every request, for its query."""
    return {QUERY: to_any("filters.http.lua.v3.LuaPerRoute", filter_context={"method": method.name})}


def query_regex(method: Method, http: Http) -> str:
    """Returns the regular expression of the queries that a route accepts: only parameters of the binding.

    The transcoder would also set the id of the path and fields of the body from the query.
    """
    choices = []
    for field in _parameters(method, http):
        values = _values(field)
        value = values.regex if values is _TEXT else f"(?:{values.regex}|{_ESCAPED})"
        choices.append(f"(?:{'|'.join(_names(field))})={value}")
    parameter = f"(?:{'|'.join(choices)})?" if choices else ""
    return rf"(?:\?{parameter}(?:&{parameter})*)?"


def repetition_regex(method: Method, http: Http) -> str:
    """Returns the regular expression of the queries that contain a parameter twice, by one or both of its names.

    The transcoder would use the last value. It joins those of a mask and of a repeated field.
    """
    names = ("|".join(_names(field)) for field in _parameters(method, http) if not _may_repeat(field))
    twice = "|".join(f"(?:{each})=.*&(?:{each})" for each in names)
    return rf"\?(?:.*&)?(?:{twice or _NEVER})=.*"


def _parameters(method: Method, http: Http) -> list[FieldDescriptor]:
    bound = {variable.strip("{}") for variable in PATH_VARIABLE.findall(http.path)} | {http.body}
    fields: Any = method.input.DESCRIPTOR.fields
    return [] if http.body == "*" else [field for field in fields if field.name not in bound]


def _names(field: FieldDescriptor) -> list[str]:
    return sorted({field.name, field.json_name})


def _may_repeat(field: FieldDescriptor) -> bool:
    """Returns whether a parameter can occur several times: the transcoder joins the values."""
    is_mask = field.message_type is not None and field.message_type.full_name == "google.protobuf.FieldMask"
    return is_mask or field.is_repeated


def _values(field: FieldDescriptor) -> _Values:
    if field.enum_type is not None:
        values = field.enum_type.values
        accepted = [*(value.name for value in values), *(str(value.number) for value in values)]
        return _Values(describe_enum(field.enum_type), "|".join(accepted), tuple(f"^{each}$" for each in accepted))
    if field.type == FieldDescriptor.TYPE_INT32:
        return _INTEGER
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _BOOLEAN
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp":
        return _TIME
    return _TEXT


def _method(method: Method, http: Http) -> str:
    """Returns the parameters of a method as an entry of a Lua table."""
    entries = []
    for field in _parameters(method, http):
        values = _values(field)
        patterns = ", ".join(f'"{pattern}"' for pattern in values.patterns)
        rules = (
            f'repeats = {str(_may_repeat(field)).lower()}, sentence = "{values.sentence}", patterns = {{{patterns}}}'
        )
        parameter = f'{{field = "{field.name}", {rules}}}'
        entries += [f'["{name}"] = {parameter},' for name in _names(field)]
    return f"{method.name} = {{{''.join(entries)}}},"
