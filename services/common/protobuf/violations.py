"""Sentences that describe violations of buf.validate rules, for users who do not know the rules."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.protobuf.contract import ContractError, pool

if TYPE_CHECKING:  # the gateway's configuration uses this module, and protovalidate takes 70 ms to import
    import protovalidate

REQUIRED = "must be set"
NOT_A_DATE = "must be a calendar date, as YYYY-MM-DD"
NOT_A_PARTIAL_DATE = "must be a calendar date, as YYYY-MM-DD, YYYY-MM or YYYY"
TIME_OUT_OF_RANGE = "must be a time in the years 1 to 9999"

_SECONDS = range(-62_135_596_800, 253_402_300_800)  # the years 1 to 9999


def describe_violations(message: Message, violations: "Iterable[protovalidate.Violation]") -> dict[str, str]:
    """Returns sentences by field path, as in google.rpc.BadRequest: `patient.name`, `mask.paths[0]`.

    A field that breaks several rules has one sentence.
    """
    found: dict[str, list[str]] = {}
    root: Any = message.DESCRIPTOR
    for violation in violations:
        elements = violation.proto.field.elements if violation.proto.field else ()
        path = ".".join(e.field_name + (f"[{e.subscript.value}]" if e.subscript else "") for e in elements)
        field = _find_field(root, [element.field_name for element in elements])
        found.setdefault(path, []).append(_describe(violation, field))
    return {path: " and ".join(dict.fromkeys(sentences)) for path, sentences in found.items()}


def describe_enum(enum: EnumDescriptor) -> str:
    """Returns the sentence for a value that an enum does not define."""
    return f"must be one of {', '.join(value.name for value in enum.values)}"


def find_time_violations(message: Message, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the path of each timestamp of a message that is out of range, and the sentence."""
    for field, value in message.ListFields():
        if isinstance(value, Timestamp):
            if value.seconds not in _SECONDS:
                yield f"{prefix}{field.name}", TIME_OUT_OF_RANGE
        elif isinstance(value, Message):
            yield from find_time_violations(value, f"{prefix}{field.name}.")


def pattern_message(field: FieldDescriptor) -> str:
    """Returns the sentence for a value that does not match the pattern of a field. Raises ContractError."""
    options: Any = field.GetOptions()
    text: str = options.Extensions[pool().FindExtensionByName("pulsetrack.options.v1.pattern_message")]
    if not text:
        raise ContractError(f"{field.full_name} has a pattern without a pattern_message")
    return text


def check_pattern_messages(message: Descriptor) -> None:
    """Checks that all patterns of a message and its submessages have a sentence. Raises ContractError."""
    rules = pool().FindExtensionByName("buf.validate.field")
    for field in message.fields:
        options: Any = field.GetOptions()
        if options.Extensions[rules].string.pattern:
            pattern_message(field)
        if field.message_type is not None:
            check_pattern_messages(field.message_type)


def _describe(violation: "protovalidate.Violation", field: FieldDescriptor | None) -> str:
    rule = violation.proto.rule_id
    if rule == "required" or violation.field_value == "":  # an optional field accepts the empty text
        return REQUIRED
    if field is not None and rule == "string.pattern":
        return pattern_message(field)
    if field is not None and field.enum_type is not None:
        return describe_enum(field.enum_type)
    return violation.proto.message


def _find_field(message: Descriptor | None, names: list[str]) -> FieldDescriptor | None:
    field = None
    for name in names:
        field = message.fields_by_name.get(name) if message else None
        message = field.message_type if field else None
    return field
