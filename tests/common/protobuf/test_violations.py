"""Every rule of the protos has a sentence for users."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.text_format import Parse

from services.common.errors import FieldsInvalid
from services.common.protobuf.contract import ContractError, all_methods, message_class, pool
from services.common.protobuf.violations import (
    REQUIRED,
    check_pattern_messages,
    find_time_violations,
    pattern_message,
)
from services.common.rpc.validation import validate_message

RULES = pool().FindExtensionByName("buf.validate.field")
SENTENCE = re.compile(r"must (not )?[a-zA-Z0-9_ ,.'-]+")
DESCRIBED = {
    "string": {"min_len", "max_len", "pattern", "uuid", "email", "example"},
    "enum": {"defined_only"},
    "int32": {"gte"},
    "int64": {"gt"},
    "repeated": {"min_items", "max_items", "items"},
}
"""The rules whose sentences these tests have seen."""


def fields(message: Descriptor) -> Iterator[FieldDescriptor]:
    """Yields the fields of a message and its submessages."""
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from fields(field.message_type)


REQUESTS = {field.full_name: field for method in all_methods() for field in fields(method.input.DESCRIPTOR)}  # type: ignore[arg-type]
FIELDS = [field for field in REQUESTS.values() if field.GetOptions().HasExtension(RULES)]  # type: ignore[arg-type]


def rules_of(field: FieldDescriptor) -> Any:
    options: Any = field.GetOptions()
    return options.Extensions[RULES]


def describe(message: Message) -> dict[str, str]:
    with pytest.raises(FieldsInvalid) as failure:
        validate_message(message)
    return dict(failure.value.violations)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.full_name)
def test_rules_of_a_field_are_described_by_sentences(field: FieldDescriptor) -> None:
    rules = rules_of(field)
    kind = rules.WhichOneof("type")
    used = {rule.name for rule, _ in getattr(rules, kind).ListFields()} if kind else set()
    assert used <= DESCRIBED.get(kind, set())
    sentences = [*([pattern_message(field)] if "pattern" in used else []), *(rule.message for rule in rules.cel)]
    assert [sentence for sentence in sentences if not SENTENCE.fullmatch(sentence)] == []


@pytest.mark.parametrize(
    ("name", "text", "violations"),
    [
        (
            "patient.v1.CreatePatientRequest",
            'patient {id: "x" email: "x" date_of_birth: "1/1/80" sex: 9} request_id: "\\303\\251"',
            {
                "patient.id": "must be a valid UUID",
                "patient.email": "must be a valid email address",
                "patient.date_of_birth": "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY",
                "patient.sex": "must be one of SEX_UNSPECIFIED, SEX_FEMALE, SEX_MALE, SEX_OTHER",
                "request_id": "must contain only printable ASCII characters",
            },
        ),
        ("patient.v1.CreatePatientRequest", "", {"patient": REQUIRED}),
        ("patient.v1.UpdatePatientRequest", 'patient {name: "A"}', {"patient": "must have an id"}),
        (
            "patient.v1.ListPatientsRequest",
            'page_size: -1 order_by: "age"',
            {
                "page_size": "must be greater than or equal to 0",
                "order_by": "must be a comma-separated list of name, create_time, update_time and date_of_birth, "
                "each optionally followed by desc",
            },
        ),
        (
            "billing.v1.FollowPatientRequest",
            "",
            {"patient_id": REQUIRED, "name": REQUIRED, "email": REQUIRED, "sequence": "must be greater than 0"},
        ),
        ("auth.v1.SignUpRequest", "", {"email": REQUIRED, "username": REQUIRED, "password": REQUIRED}),
    ],
)
def test_violation_is_a_sentence(name: str, text: str, violations: dict[str, str]) -> None:
    assert describe(Parse(text, message_class(f"pulsetrack.{name}")())) == violations


def test_violations_of_a_field_are_one_sentence() -> None:
    request: Any = message_class("pulsetrack.patient.v1.ListPatientsRequest")(query="\n" * 101)
    assert describe(request) == {"query": "must be at most 100 characters and must not contain control characters"}


def test_times_out_of_range_are_found_at_any_depth() -> None:
    request: Any = message_class("pulsetrack.patient.v1.CreatePatientRequest")()
    request.patient.create_time.seconds = 253_402_300_800
    request.patient.update_time.seconds = -62_135_596_800
    assert dict(find_time_violations(request)) == {"patient.create_time": "must be a time in the years 1 to 9999"}


def test_pattern_without_a_message_is_rejected() -> None:
    field: Any = message_class("buf.validate.StringRules").DESCRIPTOR
    with pytest.raises(ContractError, match="has a pattern without a pattern_message"):
        pattern_message(field.fields[0])


@pytest.mark.parametrize("method", [*all_methods()], ids=lambda method: method.name)
def test_all_patterns_have_messages(method: Any) -> None:
    check_pattern_messages(method.input.DESCRIPTOR)
