"""What Schemathesis cannot know by itself: texts of our own formats, and which reasons a refusal may have.

It is read by the command `st`, as SCHEMATHESIS_HOOKS says.
"""

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

from services.auth import password_strength, usernames
from services.common import text
from tools.protos import GEN

DOCUMENT: dict[str, Any] = json.loads((GEN / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = {op["operationId"]: op for verbs in DOCUMENT["paths"].values() for op in verbs.values()}

FORM = {"FIELDS_INVALID", "JSON_INVALID", "QUERY_PARAMETER_INVALID", "QUERY_PARAMETER_UNKNOWN"}
"""The reasons that say that a request has not the form that the document gives it."""

BEYOND_FORM = {
    password_strength.GUESSABLE,
    text.BIDIRECTIONAL,
    text.INVISIBLE,
    usernames.INVISIBLE,
    usernames.MIXED,
    "must equal the Idempotency-Key header if both are set",
    "must not be after the end",
    "must not be in the future",
    "value is required",  # of a field that a mask names
    r"does not match regex pattern `^[\p{L}\p{M}\p{N}._-]{1,50}$`",  # which no other dialect can say: a format for it
}
"""What is wrong with fields that have the right form: no JSON Schema can compare fields, or knows what day it is."""

schemathesis.openapi.format("username", st.from_regex(r"[\w.-]{1,50}", fullmatch=True))
schemathesis.openapi.format("password", st.text(st.characters(codec="utf-8"), min_size=8, max_size=128))


@schemathesis.check
def a_request_of_the_right_form_is_not_refused_for_its_form(_: Any, response: Any, case: Any) -> None:
    """In place of positive_data_acceptance: what is valid may be refused, but only for what is behind its form."""
    if case.meta and case.meta.generation.mode.is_positive and response.status_code == 400:
        error = response.json()
        [reason, *_] = [detail["reason"] for detail in error["details"] if "reason" in detail]
        violations = [v["description"] for detail in error["details"] for v in detail.get("fieldViolations", [])]
        assert reason not in FORM or (violations and BEYOND_FORM.issuperset(violations)), error


@schemathesis.check
def an_error_has_a_reason_that_the_document_gives_to_its_operation(_: Any, response: Any, case: Any) -> None:
    """Holds the reasons against the examples, which the document has for each of them."""
    answers = OPERATIONS[case.operation.definition.raw["operationId"]]["responses"]
    answer = answers.get(str(response.status_code), {})
    if name := answer.get("$ref", "").rpartition("/")[2]:
        answer = DOCUMENT["components"]["responses"][name]
    known = answer.get("content", {}).get("application/json", {}).get("examples")
    if known and case.method.upper() == case.operation.method.upper():
        assert response.json()["details"][0]["reason"] in known, response.text
