"""The messages of the contract as JSON Schema, in each of the uses that they have."""

from enum import Enum
from typing import Any

from google.api import field_behavior_pb2 as behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.common.contract import ContractError
from tools.openapi.comments import Comments
from tools.openapi.rules import Schema, examples, keywords, or_empty, or_null, rules_of


class Use(Enum):
    """What a message is used for, and what is then put behind its name."""

    ANSWER = ""
    """Zero values are left out, and so nothing is certain to be there but what had to be given."""
    REQUEST = "Input"
    """Without what only answers have."""
    CHANGE = "Changes"
    """As a request, but without anything that must be given or cannot change."""


_LEFT_OUT = {
    Use.ANSWER: {behavior.INPUT_ONLY},
    Use.REQUEST: {behavior.OUTPUT_ONLY},
    Use.CHANGE: {behavior.OUTPUT_ONLY, behavior.IMMUTABLE},
}
_INT64 = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_INT32 = {"type": "integer", "format": "int32"}
_UINT32 = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_NUMBER = {"type": "number"}
_SCALARS: dict[int, Schema] = {
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
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Empty": {"type": "object"},
}
_NOT_EMPTY = {"minLength", "pattern", "format", "enum", "const"}
"""The keywords that no empty text fulfils."""
_EXAMPLES = {"uuid": "01932c07-209c-7e1a-8c2b-3f5d6a7b8c9d", "date-time": "2026-01-31T12:00:00Z"}


class Schemas:
    """The schemas that the operations have asked for."""

    def __init__(self, comments: Comments) -> None:
        self.components: dict[str, Schema] = {}
        """They and what they refer to, by their names."""
        self._comments = comments
        self._names: dict[str, str] = {}

    def message(self, message: Descriptor, use: Use, without: frozenset[str] = frozenset()) -> Schema:
        """Returns the schema of a message, without some of its fields: those that are in the path."""
        if known := _WELL_KNOWN.get(message.full_name):
            return known
        if message.full_name.startswith("google."):
            raise ContractError(f"{message.full_name} has no schema yet: say in tools/openapi what it is in JSON")
        name = message.name if message.name.endswith("Request") else message.name + use.value
        return self._component(name, message, lambda: self._object(message, use, without))

    def field(self, field: FieldDescriptor, use: Use, *, needed: bool = False) -> Schema:
        """Returns the schema of a field, which must have a value if it is needed, whatever the protos say."""
        if field.message_type and field.message_type.GetOptions().map_entry:
            raise ContractError(f"{field.full_name} is a map, which has no schema yet")
        rules = rules_of(field)
        if field.is_repeated:
            items = self._value(field, use) | keywords(rules.repeated.items)
            schema: Schema = {"type": "array", "items": items} | keywords(rules)
        else:
            schema = self._limited(field, use, rules, needed=needed or (is_required(field) and use is not Use.CHANGE))
        rest: str = schema.pop("description", "")
        schema["description"] = f"{self._comments.get(field.full_name, '')} {rest}".strip()
        return schema | _marks(field, use) | _examples(field, schema)

    def fields(self, message: Descriptor, use: Use) -> list[FieldDescriptor]:
        """Returns the fields that a message has in a use."""
        return [field for field in message.fields if not _LEFT_OUT[use] & {*behaviors(field)}]

    def _limited(self, field: FieldDescriptor, use: Use, rules: Any, *, needed: bool) -> Schema:
        """Returns the schema of a single value, with the rules that a request is held to."""
        schema, said = self._value(field, use), keywords(rules)
        if use is Use.ANSWER:
            return schema | {key: word for key, word in said.items() if key == "format"}
        schema |= said
        if field.type == FieldDescriptor.TYPE_INT32:
            schema = {"minimum": -(2**31), "maximum": 2**31 - 1} | schema
        if rules.string.pattern and not said.keys() & {"pattern", "format"}:
            schema["format"] = field.name  # of texts that only the pattern in the description tells from others
        if needed and field.type == FieldDescriptor.TYPE_STRING and not schema.keys() & _NOT_EMPTY:
            schema["minLength"] = 1
        return or_empty(schema) if rules.ignore and not needed else schema

    def _value(self, field: FieldDescriptor, use: Use) -> Schema:
        if field.enum_type:
            return self._enum(field.enum_type, use)
        if field.message_type:
            return self.message(field.message_type, Use.REQUEST if use is Use.CHANGE else use)
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor, use: Use) -> Schema:
        """Returns the schema of an enum: answers have its names, requests may have its numbers too."""

        def schema() -> Schema:
            said = [f"- `{v.name}`: {self._comments.get(f'{enum.full_name}.{v.name}', '')}" for v in enum.values]
            description = "\n".join((self._comments.get(enum.full_name, ""), "", *said))
            return {"type": "string", "enum": [value.name for value in enum.values], "description": description}

        names = self._component(enum.name, enum, schema)
        return names if use is Use.ANSWER else {"anyOf": [names, {"enum": [value.number for value in enum.values]}]}

    def _object(self, message: Descriptor, use: Use, without: frozenset[str]) -> Schema:
        fields = [field for field in self.fields(message, use) if field.name not in without]
        needed = [field.json_name for field in fields if is_required(field) and use is not Use.CHANGE]
        schemas = {field.json_name: self.field(field, use) for field in fields}
        schema: Schema = {"type": "object", "description": self._comments.get(message.full_name, "")}
        if use is not Use.ANSWER:
            schemas = {name: field if name in needed else or_null(field) for name, field in schemas.items()}
            schema["propertyNames"] = {"minLength": 1}  # what else is unknown is ignored
        if schemas:
            schema["properties"] = schemas
        if needed:
            schema["required"] = needed
        return schema

    def _component(self, name: str, described: Any, schema: Any) -> Schema:
        if self._names.setdefault(name, described.full_name) != described.full_name:
            raise ContractError(f"{described.full_name} and {self._names[name]} have the same name in OpenAPI: {name}")
        if name not in self.components:
            self.components[name] = {}  # known before it is made: it may refer to itself
            self.components[name] = schema()
        return {"$ref": f"#/components/schemas/{name}"}


def behaviors(field: FieldDescriptor) -> list[Any]:
    """Returns a field's google.api.field_behavior."""
    return [*field.GetOptions().Extensions[behavior.field_behavior]]


def is_required(field: FieldDescriptor) -> bool:
    """Tells whether a request must give a field a value."""
    return behavior.REQUIRED in behaviors(field) or rules_of(field).required


def _marks(field: FieldDescriptor, use: Use) -> Schema:
    """Returns what is said of a field beside its values."""
    marks: Schema = {}
    if behavior.OUTPUT_ONLY in behaviors(field):
        marks["readOnly"] = True
    if field.GetOptions().debug_redact and use is not Use.ANSWER:
        marks["format"] = "password"
    if field.GetOptions().deprecated:
        marks["deprecated"] = True
    return marks


def _examples(field: FieldDescriptor, schema: Schema) -> Schema:
    """Returns a field's examples: the proto's, or else one that its schema has anyway."""
    found = examples(rules_of(field))
    if not found and field.enum_type:
        found = [value.name for value in field.enum_type.values][1:2]
    if not found and schema.get("format") in _EXAMPLES:
        found = [_EXAMPLES[schema["format"]]]
    return {"examples": found} if found and not field.is_repeated else {}
