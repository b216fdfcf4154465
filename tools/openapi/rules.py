"""The rules of buf.validate as JSON Schema (2020-12) says them."""

import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

Schema = dict[str, Any]
"""A JSON Schema, or another part of the document."""

_KEYWORDS = {
    "min_len": ("minLength",),
    "max_len": ("maxLength",),
    "len": ("minLength", "maxLength"),
    "pattern": ("pattern",),
    "gt": ("exclusiveMinimum",),
    "gte": ("minimum",),
    "lt": ("exclusiveMaximum",),
    "lte": ("maximum",),
    "min_items": ("minItems",),
    "max_items": ("maxItems",),
    "unique": ("uniqueItems",),
    "const": ("const",),
    "in": ("enum",),
}
_CLASSES = {
    "Cc": r"\u0000-\u001F\u007F-\u009F",
    "Z": r" \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000",
}
"""Unicode's classes of characters that patterns name, as what every dialect of regular expressions knows."""
_FORMATS = {"email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
_DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_SAID_OTHERWISE = {"defined_only", "example", "items"}
"""Rules that are no keywords: an enum's schema has its names; examples and items have their own places."""


def rules_of(field: FieldDescriptor) -> Any:
    """Returns a field's buf.validate.FieldRules, empty if it has none."""
    message: Any = field.containing_type
    return field.GetOptions().Extensions[message.file.pool.FindExtensionByName("buf.validate.field")]


def keywords(rules: Any) -> Schema:
    """Returns what FieldRules say, of one value or of a list. A rule without a keyword goes into the description."""
    schema: Schema = {}
    others = [rule.message for rule in rules.cel]
    if kind := rules.WhichOneof("type"):
        for rule, value in getattr(rules, kind).ListFields():
            found = _keyword(rule.name, value)
            if not found and rule.name not in _SAID_OTHERWISE:
                others.append(f"{rule.name} {value}")
            schema |= found
    if others:
        schema["description"] = f"Rules: {'; '.join(others)}."
    return schema


def examples(rules: Any) -> list[Any]:
    """Returns the values that a field's rules give as examples."""
    kind = rules.WhichOneof("type")
    return [*getattr(getattr(rules, kind), "example", ())] if kind else []


def or_empty(schema: Schema) -> Schema:
    """Returns a text's schema that admits the empty text too, as rules that ignore the zero value do."""
    if "enum" in schema:
        return schema | {"enum": ["", *schema["enum"]]}
    if "pattern" in schema:
        return schema | {"pattern": f"^$|{schema['pattern']}"}
    if "format" in schema:
        return {"anyOf": [{"type": "string", "maxLength": 0}, schema]}
    return schema


def or_null(schema: Schema) -> Schema:
    """Returns the schema of a field of a body that admits null too, which means that the field is not given."""
    if "$ref" in schema:
        return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}], **_without(schema, "$ref")}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:
        schema = schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}


def _without(schema: Schema, keyword: str) -> Schema:
    return {key: value for key, value in schema.items() if key != keyword}


def _keyword(rule: str, value: Any) -> Schema:
    if rule == "pattern":
        return _pattern(value)
    if rule in _FORMATS:
        return {"format": rule}
    if rule == "in":
        value = [*value]
    return dict.fromkeys(_KEYWORDS.get(rule, ()), value)


def _pattern(pattern: str) -> Schema:
    """Returns what a pattern in RE2's dialect says, nothing if other dialects cannot say it."""
    if pattern == _DAY:
        return {"format": "date"}

    def ranges(found: re.Match[str]) -> str:
        known = _CLASSES.get(found[2], found[0])
        return f"[^{known}]" if found[1] == "P" and known != found[0] else known

    portable = re.sub(r"\\([pP])\{(\w+)\}", ranges, pattern)
    return {} if "\\p" in portable.lower() else {"pattern": portable}
