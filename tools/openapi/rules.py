"""Converts buf.validate rules to JSON Schema (2020-12)."""

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
    "Zl": r"\u2028",
    "Zp": r"\u2029",
}
"""Unicode character classes in patterns, as ranges that every regular expression dialect supports."""
_FORMATS = {"email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
_DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_HANDLED_ELSEWHERE = {"defined_only", "example", "items"}
"""Rules that no keyword represents: enum schemas list the names; examples and items are converted separately."""


def rules_of(field: FieldDescriptor) -> Any:
    """Returns the buf.validate.FieldRules of a field. Empty if the field has none."""
    message: Any = field.containing_type
    return field.GetOptions().Extensions[message.file.pool.FindExtensionByName("buf.validate.field")]


def keywords(rules: Any) -> Schema:
    """Returns the keywords that represent FieldRules. Rules without a keyword become part of the description."""
    schema: Schema = {}
    others = [rule.message for rule in rules.cel]
    if kind := rules.WhichOneof("type"):
        for rule, value in getattr(rules, kind).ListFields():
            keyword = _keyword(rule.name, value)
            if not keyword and rule.name not in _HANDLED_ELSEWHERE:
                others.append(f"{rule.name} `{value}`")
            schema |= keyword
    if others:
        schema["description"] = f"Rules: {'; '.join(others)}."
    return schema


def examples(rules: Any) -> list[Any]:
    """Returns the example values in a field's rules."""
    kind = rules.WhichOneof("type")
    return [*getattr(getattr(rules, kind), "example", ())] if kind else []


def allow_empty(schema: Schema) -> Schema:
    """Returns a string schema that also accepts the empty string, for rules that ignore the zero value."""
    if "enum" in schema:
        return schema | {"enum": ["", *schema["enum"]]}
    if "pattern" in schema:
        return schema | {"pattern": f"^$|{schema['pattern']}"}
    if "format" in schema:
        return {"anyOf": [{"type": "string", "maxLength": 0}, schema]}
    return schema


def allow_null(schema: Schema) -> Schema:
    """Returns a schema that also accepts null, which means that the field is not set."""
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
    """Returns the keyword for an RE2 pattern. Empty if other dialects do not support the pattern."""
    if pattern == _DAY:
        return {"format": "date"}

    def to_ranges(match: re.Match[str]) -> str:
        ranges = _CLASSES.get(match[2], match[0])
        return f"[^{ranges}]" if match[1] == "P" and ranges != match[0] else ranges

    portable = re.sub(r"\\([pP])\{(\w+)\}", to_ranges, pattern)
    return {} if "\\p" in portable.lower() else {"pattern": portable}
