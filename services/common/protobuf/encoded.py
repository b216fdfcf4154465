"""Messages that stay encoded: stored bytes become a response, or a part of one, without being parsed."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from betterproto2 import Message as Dataclass
from google.protobuf.descriptor import FieldDescriptor

from services.common.protobuf import codec

M = TypeVar("M", bound=Dataclass)

_LENGTH_DELIMITED = 2
_CONTINUES = 0x80


@dataclass(frozen=True, slots=True)
class Encoded(Generic[M]):
    """A serialized message. A method that declares `Encoded[Patient]` returns a Patient."""

    data: bytes


class MessageField:
    """A field of a message that contains another message, which is encoded already.

    Serialized messages can be concatenated (https://protobuf.dev/programming-guides/encoding/#last-one-wins). The
    fields that are given as bytes are appended to the others:

        MessageField(ListPatientsResponse, "patients").encode(patient) + codec.dumps(ListPatientsResponse(...))
    """

    def __init__(self, message: type[Dataclass], name: str) -> None:
        """Takes the message that contains the field, and the name in the proto. Raises CodecError."""
        field = codec.codec_of(message).message_class.DESCRIPTOR.fields_by_name[name]
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            raise codec.CodecError(f"{field.full_name} is not a message")
        self._tag = _encode_varint(field.number << 3 | _LENGTH_DELIMITED)

    def encode(self, data: bytes) -> bytes:
        """Returns the field with a serialized message."""
        return self._tag + _encode_varint(len(data)) + data


@lru_cache(maxsize=4096)
def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= _CONTINUES:
        encoded.append(number & 0x7F | _CONTINUES)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
