"""Builds JSON Schemas of messages, one for each use of a message."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from google.api import field_behavior_pb2 as behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.common.protobuf.contract import ContractError
from services.common.protobuf.texts import TextForm, text_form
from tools.openapi.comments import Comments
from tools.openapi.rules import Schema, allow_empty, allow_null, examples, keywords, rules_of


class Use(Enum):
    """The use of a message. The value is the suffix of the schema name."""

    RESPONSE = ""
    """Every field without explicit presence is required: responses contain default values, too."""
    REQUEST = "Input"
    """Without output-only fields."""
    UPDATE = "Changes"
    """A request without required fields and immutable fields."""


_OMITTED = {
    Use.RESPONSE: {behavior.INPUT_ONLY},
    Use.REQUEST: {behavior.OUTPUT_ONLY},
    Use.UPDATE: {behavior.OUTPUT_ONLY, behavior.IMMUTABLE},
}
Template = Mapping[str, Any]
"""The keywords of a type. Read-only: each use is a copy."""

_INT64: Template = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_INT32: Template = {"type": "integer", "format": "int32"}
_UINT32: Template = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_NUMBER: Template = {"type": "number"}
_SCALARS: Mapping[int, Template] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: _NUMBER,
    FieldDescriptor.TYPE_FLOAT: _NUMBER,
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _INT64,
    FieldDescriptor.TYPE_FIXED64: _INT64,
}
_WELL_KNOWN: Mapping[str, Template] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Empty": {"type": "object"},
}
_NOT_EMPTY = {"minLength", "pattern", "format", "enum", "const"}
"""Keywords that reject the empty string."""
_EXAMPLES = {"uuid": "01932c07-209c-7e1a-8c2b-3f5d6a7b8c9d", "date-time": "2026-01-31T12:00:00Z"}


class Schemas:
    """Builds the schemas that operations use."""

    def __init__(self, comments: Comments) -> None:
        self.components: dict[str, Schema] = {}
        """The schemas and those to which they refer, by name."""
        self._comments = comments
        self._names: dict[str, str] = {}

    def message(self, message: Descriptor, use: Use, without: frozenset[str] = frozenset()) -> Schema:
        """Returns the schema of a message. `without` names fields to omit, such as those in the path."""
        if known := _WELL_KNOWN.get(message.full_name):
            return dict(known)
        if message.full_name.startswith("google."):
            raise ContractError(f"{message.full_name} has no schema: add one to _WELL_KNOWN in tools/openapi")
        name = message.name if message.name.endswith("Request") else message.name + use.value
        return self._component(name, message, lambda: self._object(message, use, without))

    def field(self, field: FieldDescriptor, use: Use, *, required: bool = False) -> Schema:
        """Returns the schema of a field. `required` makes an optional field required."""
        if field.message_type and field.message_type.GetOptions().map_entry:
            raise ContractError(f"{field.full_name} is a map field, which is not supported")
        rules = rules_of(field)
        if field.is_repeated:
            items = self._value(field, use) | keywords(rules.repeated.items)
            schema: Schema = {"type": "array", "items": items} | keywords(rules)
        else:
            schema = self._single(
                field, use, rules, required=required or (is_required(field) and use is not Use.UPDATE)
            )
        description = f"{self._comments.get(field.full_name, '')} {schema.get('description', '')}".strip()
        return schema | {"description": description} | _annotations(field, use) | _examples(field, schema)

    def fields(self, message: Descriptor, use: Use) -> list[FieldDescriptor]:
        """Returns the fields of a message that are present in a use."""
        return [field for field in message.fields if not _OMITTED[use] & {*behaviors(field)}]

    def _single(self, field: FieldDescriptor, use: Use, rules: Any, *, required: bool) -> Schema:
        """Returns the schema of a non-repeated field. Only request schemas include the validation rules."""
        schema, limits = self._value(field, use), keywords(rules)
        if text_form(field) is TextForm.EMAIL:
            limits["format"] = "idn-email"
        if use is Use.RESPONSE:
            return schema | {key: value for key, value in limits.items() if key == "format"}
        schema = schema | limits
        if field.type == FieldDescriptor.TYPE_INT32:
            schema = {"minimum": -(2**31), "maximum": 2**31 - 1, **schema}
        if rules.string.pattern and not limits.keys() & {"pattern", "format"}:
            schema["format"] = field.name  # the pattern is only in the description: a custom format marks the field
        if required and field.type == FieldDescriptor.TYPE_STRING and not schema.keys() & _NOT_EMPTY:
            schema["minLength"] = 1
        return allow_empty(schema) if rules.ignore and not required else schema

    def _value(self, field: FieldDescriptor, use: Use) -> Schema:
        if field.enum_type:
            return self._enum(field.enum_type)
        if field.message_type:
            return self.message(field.message_type, Use.REQUEST if use is Use.UPDATE else use)
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Schema:
        """Returns the schema of an enum: its names. The gateway also accepts numbers, which no client needs."""

        def schema() -> Schema:
            values = [f"- `{v.name}`: {self._comments.get(f'{enum.full_name}.{v.name}', '')}" for v in enum.values]
            description = "\n".join((self._comments.get(enum.full_name, ""), "", *values))
            return {"type": "string", "enum": [value.name for value in enum.values], "description": description}

        return self._component(enum.name, enum, schema)

    def _object(self, message: Descriptor, use: Use, without: frozenset[str]) -> Schema:
        fields = [field for field in self.fields(message, use) if field.name not in without]
        required = [field.json_name for field in fields if _is_required_in(field, use)]
        schemas = {field.json_name: self.field(field, use) for field in fields}
        schema: Schema = {"type": "object", "description": self._comments.get(message.full_name, "")}
        if use is not Use.RESPONSE:
            schemas = {name: field if name in required else allow_null(field) for name, field in schemas.items()}
            schema["additionalProperties"] = False
        if use is Use.UPDATE:
            schema["minProperties"] = 1
        if schemas:
            schema["properties"] = schemas
        if required:
            schema["required"] = required
        return schema

    def _component(self, name: str, descriptor: Any, build: Any) -> Schema:
        if self._names.setdefault(name, descriptor.full_name) != descriptor.full_name:
            raise ContractError(f"{descriptor.full_name} and {self._names[name]} have the same schema name: {name}")
        if name not in self.components:
            self.components[name] = {}  # set before it is built, for messages that refer to themselves
            self.components[name] = build()
        return {"$ref": f"#/components/schemas/{name}"}


def behaviors(field: FieldDescriptor) -> list[Any]:
    """Returns the google.api.field_behavior values of a field."""
    return [*field.GetOptions().Extensions[behavior.field_behavior]]


def is_required(field: FieldDescriptor) -> bool:
    """Returns whether a request must set a field."""
    return behavior.REQUIRED in behaviors(field) or rules_of(field).required


def _is_required_in(field: FieldDescriptor, use: Use) -> bool:
    """Returns whether every message of a use has the field. The gateway prints each field without presence."""
    if use is Use.RESPONSE:
        return not field.has_presence
    return is_required(field) and use is not Use.UPDATE


def _annotations(field: FieldDescriptor, use: Use) -> Schema:
    """Returns the keywords for a field's behavior, sensitivity and deprecation."""
    annotations: Schema = {}
    if behavior.OUTPUT_ONLY in behaviors(field):
        annotations["readOnly"] = True
    if field.GetOptions().debug_redact and use is not Use.RESPONSE:
        annotations["format"] = "password"
    if field.GetOptions().deprecated:
        annotations["deprecated"] = True
    return annotations


def _examples(field: FieldDescriptor, schema: Schema) -> Schema:
    """Returns the examples of a field: those in the proto, or one derived from its type or format."""
    values = examples(rules_of(field))
    if not values and field.enum_type:
        values = [value.name for value in field.enum_type.values][1:2]
    if not values and schema.get("format") in _EXAMPLES:
        values = [_EXAMPLES[schema["format"]]]
    return {"examples": values} if values and not field.is_repeated else {}
