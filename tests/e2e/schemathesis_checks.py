"""Formats and checks that Schemathesis cannot derive from the OpenAPI document.

The command `st` loads this module through SCHEMATHESIS_HOOKS.
"""

import json
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import strategies as st

from services.auth import checks, password_strength, usernames
from services.common import text
from services.common.protobuf.contract import FHIR_LINES, LINES
from services.common.protobuf.masks import EMPTY_UPDATE
from services.common.protobuf.violations import REQUIRED
from services.patient import domain
from tools.protos import GEN

schemathesis.serializer.alias([LINES, FHIR_LINES], "text/plain")

DOCUMENT: dict[str, Any] = json.loads((GEN / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = {op["operationId"]: op for verbs in DOCUMENT["paths"].values() for op in verbs.values()}

FORM = {"FIELDS_INVALID", "JSON_INVALID", "QUERY_PARAMETER_INVALID", "QUERY_PARAMETER_UNKNOWN"}
"""Reasons of requests that do not match the schema."""

BEYOND_FORM = {
    checks.EXPIRED,
    checks.INVALID_EXPIRATION,
    checks.INVALID_OVERLAP,
    password_strength.GUESSABLE,
    text.BIDIRECTIONAL,
    text.INVISIBLE,
    usernames.INVISIBLE,
    usernames.MIXED,
    "must equal the Idempotency-Key header if both are set",
    "must match the If-Match header if both are set",
    "must not be after the end",
    domain.BEFORE_BIRTH,
    domain.IN_FUTURE,
    REQUIRED,  # for a field named in an update mask
    EMPTY_UPDATE,  # an update needs a body or a mask
    "must contain only letters, digits, dots, hyphens and underscores",
}
"""Violations of fields that match the schema. JSON Schema cannot compare fields or dates with today."""

schemathesis.openapi.format("username", st.from_regex(r"[\w.-]{1,50}", fullmatch=True))
schemathesis.openapi.format("password", st.text(st.characters(codec="utf-8"), min_size=8, max_size=128))


@schemathesis.hook
def before_load_schema(_: Any, document: dict[str, Any]) -> None:
    """Permits the numbers of enums in requests. The gateway accepts them; the document lists only the names."""
    schemas = document["components"]["schemas"]
    counts = {f"#/components/schemas/{name}": len(schema.get("enum", ())) for name, schema in schemas.items()}
    for part in [*request_parts(document)]:
        if number := counts.get(part.get("$ref", "")):
            part["anyOf"] = [{"$ref": part.pop("$ref")}, {"enum": [*range(number)]}]


def request_parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields every object in the schemas of request bodies and in the operations."""

    def walk(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            yield part
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from walk(child)

    bodies = [schema for schema in document["components"]["schemas"].values() if "additionalProperties" in schema]
    yield from walk([*bodies, *document["paths"].values()])


@schemathesis.check
def valid_request_is_not_rejected_for_its_format(_: Any, response: Any, case: Any) -> None:
    """Replaces positive_data_acceptance: such a request may only fail by rules that the schema cannot express."""
    if case.meta and case.meta.generation.mode.is_positive and response.status_code == 400:
        error = response.json()
        reason = _get_reason(error)
        details = error.get("details", [])
        violations = [v["description"] for detail in details for v in detail.get("fieldViolations", [])]
        violations += [issue["details"]["text"] for issue in error.get("issue", [])]
        assert reason not in FORM or (violations and BEYOND_FORM.issuperset(violations)), error


@schemathesis.check
def error_reason_is_documented(_: Any, response: Any, case: Any) -> None:
    """Compares the reason with the examples of the response in the document."""
    documented = OPERATIONS[case.operation.definition.raw["operationId"]]["responses"]
    expected = documented.get(str(response.status_code), {})
    if name := expected.get("$ref", "").rpartition("/")[2]:
        expected = DOCUMENT["components"]["responses"][name]
    contents: list[dict[str, Any]] = [*expected.get("content", {}).values()]
    known = contents[0].get("examples") if contents else None
    if known and case.method.upper() == case.operation.method.upper():
        assert _get_reason(response.json()) in known, response.text


def _get_reason(error: dict[str, Any]) -> str:
    """Returns the reason of an error: a Status, or an OperationOutcome."""
    if "issue" in error:
        return str(error["issue"][0]["details"]["coding"][0]["code"])
    return str(error["details"][0]["reason"])
