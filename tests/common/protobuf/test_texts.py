"""Normalization of the text fields of requests."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from gen.pulsetrack.patient.v1 import CreatePatientRequest, Patient
from services.common.emails import INVALID
from services.common.protobuf import codec, contract
from services.common.protobuf.contract import Method, all_methods
from services.common.protobuf.texts import TextForm, create_email_check, create_normalizer, text_fields, text_form

SENT, NORMAL, PREPARED = " e\u0301\r\n\u3000e\u0301 ", "\u00e9\r\n\u3000\u00e9", " \u00e9\r\n \u00e9 "
EXEMPT = {
    "id": "a UUID has one spelling, apart from case",
    "ids": "UUIDs",
    "patient_id": "a UUID",
    "export_id": "a UUID",
    "file": "one of two names",
    "merged_id": "a UUID",
    "subject_id": "a UUID",
    "user_id": "a UUID",
    "user_ids": "UUIDs",
    "session_id": "a UUID",
    "actor_id": "a UUID, or the client id of a service",
    "client_id": "names a service in the settings, or a UUID",
    "client_secret": "a secret is compared byte by byte",
    "grant_type": "a name of OAuth 2.0",
    "scope": "names of scopes, in ASCII",
    "version": "digits",
    "refresh_token": "the server generates tokens",
    "token": "the server generates tokens",
    "challenge": "the server generates tokens",
    "code": "an application or the server generates codes, in ASCII",
    "page_token": "the server generates tokens",
    "resume_token": "the server generates tokens",
    "etag": "the server generates etags",
    "merged_etag": "the server generates etags",
    "parameters": "URL-encoded ASCII; the decoded values are normalized",
    "request_id": "an opaque key of the client, in ASCII",
    "password": "Login compares the prepared form and the form as sent",
    "current_password": "compared as in Login",
}
"""The names of the fields whose text is not normalized, and the reason."""

METHODS = {method.path: method for method in all_methods()}


def build_request(method: Method, text: str) -> Any:
    """Returns a request with the text in every text field."""
    message: Any = method.input()
    for path, _ in text_fields(method.input.DESCRIPTOR):
        *outer, name = path.split(".")
        target = message
        for each in outer:
            target = getattr(target, each)
            target = target.add() if hasattr(target, "add") else target
        if target.DESCRIPTOR.fields_by_name[name].is_repeated:
            getattr(target, name).append(text)
        else:
            setattr(target, name, text)
    return message


def read_texts(message: Any) -> list[tuple[FieldDescriptor, str]]:
    """Returns the text fields of a message and its submessages, and their values."""
    texts = []
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            texts += [(field, text) for text in (value if field.is_repeated else [value])]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                texts += read_texts(inner)
    return texts


@pytest.mark.parametrize("path", METHODS)
def test_every_text_of_a_request_is_normalized_or_exempt(path: str) -> None:
    request = build_request(METHODS[path], SENT)
    if normalize := create_normalizer(request.DESCRIPTOR):
        normalize(request)
    for field, value in read_texts(request):
        form = text_form(field)
        expected = {
            TextForm.EXACT: SENT,
            TextForm.PASSWORD: PREPARED,
            TextForm.LINES: NORMAL.replace("\r\n", "\n"),
        }
        assert value == expected.get(form, NORMAL), field.full_name
        assert (form is TextForm.EXACT) <= (field.name in EXEMPT), field.full_name
    create_email_check(request.DESCRIPTOR)(request)


def test_exemptions_are_used() -> None:
    fields = [field for method in METHODS.values() for _, field in text_fields(method.input.DESCRIPTOR)]
    assert {field.name for field in fields if text_form(field) is TextForm.EXACT} == EXEMPT.keys()


def test_forms_are_those_of_the_proto() -> None:
    declared = contract.pool().FindEnumTypeByName("pulsetrack.options.v1.TextForm")
    names = {value.number: value.name.removeprefix("TEXT_FORM_") for value in declared.values}
    assert names == {form.value: form.name for form in TextForm} | {0: "UNSPECIFIED"}


def test_equal_requests_in_different_unicode_forms_have_equal_bytes() -> None:
    method = next(method for method in all_methods() if method.name == "CreatePatient")
    normalize = create_normalizer(method.input.DESCRIPTOR)
    assert normalize
    serialized = set()
    for name in ("Jose\u0301", "Jos\u00e9", " Jos\u00e9\u00a0"):
        message = codec.codec_of(CreatePatientRequest).encode(CreatePatientRequest(patient=Patient(name=name)))
        normalize(message)
        serialized.add(message.SerializeToString())
    assert len(serialized) == 1


def test_absent_submessage_stays_absent() -> None:
    message: Any = contract.message_class("pulsetrack.patient.v1.CreatePatientRequest")()
    normalize = create_normalizer(message.DESCRIPTOR)
    assert normalize
    normalize(message)
    assert not message.HasField("patient")


def test_invalid_email_is_found_by_its_path() -> None:
    message: Any = contract.message_class("pulsetrack.patient.v1.CreatePatientRequest")()
    find = create_email_check(message.DESCRIPTOR)
    assert find(message) == {}
    message.patient.email = "ana@"
    assert find(message) == {"patient.email": INVALID}
    message.patient.email = "ana@clinic.test"
    assert find(message) == {}
