"""Strict JSON bodies: a Lua filter in front of the transcoder, written from the protos."""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from envoy.extension import Config, extension, to_any
from envoy.names import JSON_BODY
from services.common.protobuf.contract import AccessKind, ContractError, Http, Method, all_methods, output_only_fields

_SCRIPTS = (Path(__file__).with_name("violations.lua"), Path(__file__).with_suffix(".lua"))
_MASK = "update_mask"


def json_body_filter() -> Config:
    """Returns the filter, which is disabled. `json_body_check` enables it for a route."""
    scripts = (file.read_text(encoding="utf-8") for file in _SCRIPTS)
    source = {"inline_string": "\n".join((_fields(), *scripts))}
    return extension(JSON_BODY, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def json_body_check(method: Method, http: Http) -> Config:
    """Returns the options of a route whose body is checked: the message type, the implied mask, and the callers."""
    if not _is_checked(method, http):
        return {}
    message = _body_message(method, http)
    context = {"message": message.full_name}
    if http.verb == "PATCH" and _MASK in method.input.DESCRIPTOR.fields_by_name:
        context["mask"] = "updateMask"
    if method.access.kind is AccessKind.USERS:
        context["roles"] = f"|{'|'.join(sorted(method.access.roles))}|"
        context["scope"] = method.access.scope
    return {JSON_BODY: to_any("filters.http.lua.v3.LuaPerRoute", filter_context=context)}


def _is_checked(method: Method, http: Http) -> bool:
    return bool(http.body) and not method.takes_raw_body(http)


def _body_message(method: Method, http: Http) -> Descriptor:
    request: Any = method.input.DESCRIPTOR
    message: Descriptor = request if http.body == "*" else request.fields_by_name[http.body].message_type
    return message


def _fields() -> str:
    """Returns the definition of FIELDS in Lua."""
    messages = {
        message.full_name: message
        for message in (
            _body_message(method, http) for method in all_methods() for http in method.http if _is_checked(method, http)
        )
    }
    return f"local FIELDS = {{{''.join(map(_message, messages.values()))}}}"


def _message(message: Descriptor) -> str:
    fields = [
        f'["{name}"] = {_field(field)},' for field in message.fields for name in sorted({field.name, field.json_name})
    ]
    return f'["{message.full_name}"] = {{{"".join(fields)}}},'


def _field(field: FieldDescriptor) -> str:
    """Returns a field as a Lua table. Raises ContractError for a type that the script does not support."""
    output = "true" if field.name in output_only_fields(field.containing_type) else "false"
    known = f'name = "{field.json_name}", output = {output}'
    if field.is_repeated:
        raise ContractError(f"{field.full_name} is repeated, which json_bodies.lua does not support")
    if field.enum_type is not None:
        values = field.enum_type.values
        accepted = "".join(f'["{value.name}"] = true,' for value in values)
        names = ", ".join(value.name for value in values)
        return f'{{{known}, kind = "enum", names = "{names}", values = {{{accepted}}}}}'
    if field.type == FieldDescriptor.TYPE_BOOL:
        return f'{{{known}, kind = "boolean"}}'
    timestamp = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    if field.type == FieldDescriptor.TYPE_STRING or timestamp:
        return f'{{{known}, kind = "string"}}'
    raise ContractError(f"{field.full_name} has a type that json_bodies.lua does not support")
