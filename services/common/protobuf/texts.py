"""The text fields of requests: their normal form (option `text_form`), and the addresses among them."""

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from services.common import emails, text
from services.common.protobuf.contract import ContractError

Upb = Any
"""A google.protobuf message. Its fields are known only at run time."""

MessageType: TypeAlias = Any
"""The descriptor of a message. The type stubs of protobuf declare two types for it."""

Normalizer: TypeAlias = Callable[[Upb], None]
"""Normalizes the text fields of a message in place."""


class TextForm(IntEnum):
    """The values of the enum in text.proto, which describes them."""

    LINE = 0
    LINES = 1
    EMAIL = 2
    PASSWORD = 3
    EXACT = 4


_FORMS: Mapping[TextForm, Callable[[str], str]] = {
    TextForm.LINE: text.normalize,
    TextForm.LINES: text.normalize_lines,
    TextForm.EMAIL: text.normalize,
    TextForm.PASSWORD: text.prepare_password,
}


def text_form(field: FieldDescriptor) -> TextForm:
    """Returns the form of a text field."""
    declared: Any = field
    files = declared.file.pool
    return TextForm(declared.GetOptions().Extensions[files.FindExtensionByName("pulsetrack.options.v1.text_form")])


def text_fields(
    message: MessageType, prefix: str = "", *, in_lists: bool = True
) -> Iterator[tuple[str, FieldDescriptor]]:
    """Yields the path of each text field of a message and its submessages: `patient.name`."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield f"{prefix}{field.name}", field
        elif _is_ours(field) and (in_lists or not field.is_repeated):
            yield from text_fields(field.message_type, f"{prefix}{field.name}.", in_lists=in_lists)


def create_normalizer(message: MessageType) -> Normalizer | None:
    """Returns the normalizer of a message, or None if it has no text to normalize. Raises ContractError."""
    texts = [(field.name, form) for field in message.fields if (form := _normal_form(field))]
    submessages = [
        (field.name, field.is_repeated, inner)
        for field in message.fields
        if _is_ours(field) and (inner := create_normalizer(field.message_type))
    ]

    def normalize(value: Upb) -> None:
        for name, normal_form in texts:
            if sent := getattr(value, name):
                normal = normal_form(sent)
                if normal is not sent:
                    setattr(value, name, normal)
        for name, is_repeated, inner in submessages:
            if is_repeated:
                for item in getattr(value, name):
                    inner(item)
            elif value.HasField(name):
                inner(getattr(value, name))

    return normalize if texts or submessages else None


@cache
def create_email_check(message: MessageType) -> Callable[[Upb], dict[str, str]]:
    """Returns a function that finds invalid email addresses in a message: their descriptions by field path.

    It does not look into lists of messages: the handler of an import validates each of them by itself.
    """
    paths = [path for path, field in text_fields(message, in_lists=False) if text_form(field) is TextForm.EMAIL]
    getters = [(path, attrgetter(path)) for path in paths]

    def find_violations(value: Upb) -> dict[str, str]:
        found = {}
        for path, get in getters:
            if (address := get(value)) and (violation := emails.find_violation(address)):
                found[path] = violation
        return found

    return find_violations


def _normal_form(field: FieldDescriptor) -> Callable[[str], str] | None:
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    form = _FORMS.get(text_form(field))
    if form and field.is_repeated:
        raise ContractError(f"{field.full_name} is repeated, which is supported only for TEXT_FORM_EXACT")
    return form


def _is_ours(field: FieldDescriptor) -> bool:
    """Returns whether a field is a message of PulseTrack. Others, such as field masks, contain no text of users."""
    return field.message_type is not None and field.message_type.file.package.startswith("pulsetrack.")
