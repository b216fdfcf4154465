"""Messages that are composed from encoded ones."""

import pytest

from gen.pulsetrack.patient.v1 import ListPatientsResponse, Patient
from services.common.protobuf.codec import CodecError, codec_of
from services.common.protobuf.encoded import MessageField


@pytest.mark.parametrize("length", [0, 1, 120, 130, 20_000, 3_000_000])
def test_message_of_any_length_is_a_field(length: int) -> None:
    patients = [Patient(id="1", name="x" * length), Patient(), Patient(id="2")]
    field, codec = MessageField(ListPatientsResponse, "patients"), codec_of(Patient)
    encoded = b"".join(field.encode(codec.dumps(patient)) for patient in patients)
    token = codec_of(ListPatientsResponse).dumps(ListPatientsResponse(next_page_token="a token"))
    decoded = codec_of(ListPatientsResponse).loads(encoded + token)
    assert decoded == ListPatientsResponse(patients=patients, next_page_token="a token")


def test_other_fields_are_rejected() -> None:
    with pytest.raises(CodecError, match="next_page_token is not a message"):
        MessageField(ListPatientsResponse, "next_page_token")
