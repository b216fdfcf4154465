"""Every description in gen/openapi.json is the comment of exactly its element in proto/, read here as text."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.common.protobuf.contract import PATH_VARIABLE, Method, all_methods, descriptor_set, pool
from tools.local.process import ROOT
from tools.openapi import comments
from tools.openapi.document import build_document
from tools.openapi.operations import template_path

DOCUMENT: dict[str, Any] = json.loads((ROOT / "gen" / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
ERRORS = {"Status", "ErrorInfo", "BadRequest", "FieldViolation", "RetryInfo", "RequestInfo"}
"""Schemas of google.rpc messages, which proto/ does not contain."""
REST = [method for method in all_methods() if method.http]

_OPENING = re.compile(r"^(?:message|enum|service|oneof|rpc) (\w+).*{$")
_FIELD = re.compile(r"^(?:(?:optional|repeated) )?[\w.]+ (\w+) = \d+")
_VALUE = re.compile(r"^([A-Z]\w+) = \d+")


def read_comments() -> Iterator[tuple[str, str]]:
    """Yields the name and the comment of each commented element, such as `Patient.email` and `Patient`."""
    for path in sorted((ROOT / "proto").rglob("*.proto")):
        scopes: list[str] = []
        comment: list[str] = []
        for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
            if line.startswith("//"):
                comment.append("" if "buf:lint" in line else line.removeprefix("//").strip())
                continue
            opening = _OPENING.match(line)
            if name := opening or _FIELD.match(line) or _VALUE.match(line):
                yield ".".join([*filter(None, scopes), name[1]]), " ".join(" ".join(comment).split())
            if line.endswith(("{", "[")):
                scopes.append(opening[1] if opening and not line.startswith("oneof") else "")
            elif line.startswith(("}", "]")):
                scopes.pop()
            comment = []


COMMENTS = dict(read_comments())


def text_of(part: dict[str, Any]) -> str:
    """Returns a description on one line, without the rules that the generator appends."""
    text = " ".join(part["description"].split())
    return re.split(r"(?:^| )Rules: ", text, maxsplit=1)[0]


def find_message(schema: str) -> str:
    return next(
        name for name in (schema, schema.removesuffix("Input"), schema.removesuffix("Changes")) if name in COMMENTS
    )


def properties() -> Iterator[Any]:
    for schema in sorted(SCHEMAS.keys() - ERRORS):
        for name, field in SCHEMAS[schema].get("properties", {}).items():
            yield pytest.param(f"{find_message(schema)}.{to_snake_case(name)}", field, id=f"{schema}.{name}")


def parameters() -> Iterator[Any]:
    for method in REST:
        [http] = method.http
        bound = [variable.strip("{}") for variable in PATH_VARIABLE.findall(http.path)]
        paths = {path.rpartition(".")[2]: path for path in bound}
        for parameter in DOCUMENT["paths"][template_path(http)][http.verb.lower()].get("parameters", []):
            name = parameter["name"]
            if parameter["in"] != "header":  # a header has its own description
                field = find_field(method, paths.get(name, to_snake_case(name)))
                yield pytest.param(field, parameter, id=f"{method.name}.{name}")


def find_field(method: Method, path: str) -> str:
    """Returns the name of a field, given by its path in a request: `Patient.id` for `patient.id`."""
    message: Any = method.input.DESCRIPTOR
    *outer, name = path.split(".")
    for step in outer:
        message = message.fields_by_name[step].message_type
    return f"{message.name}.{name}"


def to_snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


@pytest.mark.parametrize(("field", "described"), [*properties(), *parameters()])
def test_field_has_its_own_description(field: str, described: dict[str, Any]) -> None:
    assert COMMENTS[field]
    assert text_of(described) == COMMENTS[field]


@pytest.mark.parametrize("schema", sorted(SCHEMAS.keys() - ERRORS))
def test_schema_has_its_own_description(schema: str) -> None:
    name = find_message(schema)
    values = [f" - `{value}`: {COMMENTS[f'{name}.{value}']}" for value in SCHEMAS[schema].get("enum", [])]
    assert text_of(SCHEMAS[schema]) == COMMENTS[name] + "".join(values)


@pytest.mark.parametrize("method", REST, ids=lambda method: method.name)
def test_operation_has_its_own_description(method: Method) -> None:
    [http] = method.http
    operation = DOCUMENT["paths"][template_path(http)][http.verb.lower()]
    service = method.path.split("/")[1].rpartition(".")[2]
    text = " ".join(f"{operation['summary']}. {operation['description']}".split())
    assert re.sub(r" Required role: .*$", "", text) == COMMENTS[f"{service}.{method.name}"]


def test_no_part_of_the_document_is_shared() -> None:
    """A shared part would change in several places when one of them changes."""
    seen: dict[int, str] = {}
    document = build_document(pool(), comments.read_comments(descriptor_set().file))
    for location, part in walk(document):
        assert id(part) not in seen, f"{location} is the same object as {seen[id(part)]}"
        seen[id(part)] = location


def walk(part: Any, location: str = "#") -> Iterator[tuple[str, Any]]:
    """Yields every object and array of a document with its location."""
    if isinstance(part, (dict, list)):
        yield location, part
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from walk(value, f"{location}/{key}")
