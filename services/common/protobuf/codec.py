r"""The codec: converts google.protobuf messages to betterproto2 dataclasses, which handlers use, and back.

google.protobuf parses and serializes, strictly and in C. A codec only copies the values of fields. For example:

    codec = codec_of(GetPatientRequest)
    codec.loads(b"\n\x017")  # GetPatientRequest(id="7")
    codec.dumps(GetPatientRequest(id="7"))  # b"\n\x017"

- A Timestamp becomes a datetime in UTC, a Duration a timedelta. Both are truncated to microseconds.
- An absent `optional` field, message, wrapper or member of a oneof is None.
- An unknown enum number is preserved, as a member without a name.
- Unknown fields are dropped.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar, cast, get_args, get_type_hints

from betterproto2 import FieldMetadata
from betterproto2 import Message as Dataclass
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gen.message_pool import default_message_pool
from services.common.protobuf import contract
from services.common.protobuf.fields import CONVERTERS, UNCHANGED, Converter, Read, Write, create_accessor, value_fields

M = TypeVar("M", bound=Dataclass)

Compiled: TypeAlias = "dict[tuple[type, Descriptor], Codec[Any]]"
"""The codecs of one compilation, by dataclass and message. A message may contain itself."""


class CodecError(ValueError):
    """Raised when a dataclass cannot be converted to its message. This is a bug in the server."""


class TimeRangeError(CodecError):
    """Raised when a received message contains a time or duration that is out of range."""

    def __init__(self, message: str, field: str) -> None:
        self.field = field
        super().__init__(f"{message}.{field} is out of range: a time must be in the years 1 to 9999")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Codec(Generic[M]):
    """Converts messages of one type to dataclasses and back."""

    dataclass_type: type[M]
    message_class: type[Message]
    fields: list[tuple[str, str, Read, Write]]
    """The name in the dataclass (`from_`), the name in the proto (`from`) and the accessor of each, in order."""
    oneofs: list[Callable[[M], tuple[Any, ...]]]
    """Functions that return the members of each oneof."""

    def decode(self, message: Message) -> M:
        """Returns the dataclass of a message. Raises TimeRangeError."""
        values = []
        for _, name, read, _ in self.fields:
            try:
                values.append(read(message, name))
            except OverflowError:
                raise TimeRangeError(self._name, name) from None
        return self.dataclass_type(*values)

    def encode(self, value: M) -> Message:
        """Returns the message of a dataclass. Raises CodecError."""
        message = self.message_class()
        self.fill(message, value)
        return message

    def fill(self, message: Message, value: M) -> None:
        """Sets the fields of a new message to those of a dataclass. Raises CodecError."""
        if type(value) is not self.dataclass_type:
            raise CodecError(f"{self._name} cannot be encoded from a {type(value).__name__}")
        for members in self.oneofs:
            if (values := members(value)).count(None) < len(values) - 1:
                raise CodecError(f"{self._name} has more than one member of a oneof")
        for name, proto_name, _, write in self.fields:
            try:
                write(message, proto_name, getattr(value, name))
            except CodecError:
                raise
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                kind = type(getattr(value, name)).__name__
                # Not chained: the cause quotes the value, which may be personal data.
                raise CodecError(
                    f"{self._name}.{proto_name} cannot be encoded from this {kind}: {type(error).__name__}"
                ) from None

    def loads(self, data: bytes) -> M:
        """Parses a message. Raises google.protobuf.message.DecodeError if it is malformed, TimeRangeError."""
        return self.decode(self.message_class.FromString(data))

    def dumps(self, value: M) -> bytes:
        """Serializes a dataclass. Raises CodecError."""
        return self.encode(value).SerializeToString()

    @property
    def _name(self) -> str:
        return self.message_class.DESCRIPTOR.full_name


def codec(dataclass_type: type[M], message_class: type[Message]) -> Codec[M]:
    """Returns the codec between a dataclass and a google.protobuf class. Compiles it once. Raises CodecError."""
    return cast("Codec[M]", _get_compiled(dataclass_type, message_class.DESCRIPTOR))


def codec_of(dataclass_type: type[M]) -> Codec[M]:
    """Returns the codec of a dataclass of gen/ and the contract's message of that name. Raises CodecError."""
    return codec(dataclass_type, contract.message_class(full_name(dataclass_type)))


def full_name(dataclass_type: type[Dataclass]) -> str:
    """Returns the proto name of a dataclass of gen/: "pulsetrack.patient.v1.Patient". Raises CodecError."""
    if url := default_message_pool.type_to_url.get(dataclass_type):
        return url.rpartition("/")[2]
    raise CodecError(f"{dataclass_type.__qualname__} is not a message of gen/")


@cache
def _get_compiled(dataclass_type: type[Any], descriptor: Descriptor) -> Codec[Any]:
    return _compile(dataclass_type, descriptor, {})


def _compile(dataclass_type: type[Any], descriptor: Descriptor, compiled: Compiled) -> Codec[Any]:
    _check_dataclass(dataclass_type, descriptor)
    codec: Codec[Any] = Codec(dataclass_type, GetMessageClass(descriptor), fields=[], oneofs=[])
    compiled[dataclass_type, descriptor] = codec
    hints = get_type_hints(dataclass_type, vars(sys.modules[dataclass_type.__module__]), {})
    names = {}
    for name, number in ((field.name, FieldMetadata.get(field).number) for field in fields(dataclass_type)):
        field = descriptor.fields_by_number[number]
        names[field.name] = name
        converter = _get_converter(value_fields(field)[-1], _value_type(hints[name]), compiled)
        codec.fields.append((name, field.name, *create_accessor(field, converter)))
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1:
            codec.oneofs.append(attrgetter(*(names[member.name] for member in oneof.fields)))
    return codec


def _value_type(hint: object) -> Any:
    """Returns the type of a single value: `Sex` for `list[Sex]`, `dict[str, Sex]` and `Sex | None`."""
    return [argument for argument in get_args(hint) or [hint] if argument is not type(None)][-1]


def _get_converter(value: FieldDescriptor, value_type: type[Any], compiled: Compiled) -> Converter:
    """Returns the converter between a single value and the type that the dataclass declares."""
    if value.enum_type:
        return Converter(value_type, None)
    if value.message_type is None:
        return UNCHANGED
    if well_known := CONVERTERS.get(value.message_type.full_name):
        return well_known
    codec = compiled.get((value_type, value.message_type)) or _compile(value_type, value.message_type, compiled)
    return Converter(codec.decode, codec.fill)


def _check_dataclass(dataclass_type: type[Any], descriptor: Descriptor) -> None:
    """Raises CodecError if the dataclass was not generated from the message that the descriptor describes."""
    name = dataclass_type.__name__
    if _normalize_name(name) != _normalize_name(descriptor.full_name.removeprefix(descriptor.file.package)):
        raise CodecError(f"{name} is not the dataclass of {descriptor.full_name}")
    declared = {_describe_dataclass_field(field.name, FieldMetadata.get(field)) for field in fields(dataclass_type)}
    if differing := declared ^ {_describe_proto_field(field) for field in descriptor.fields}:
        raise CodecError(f"{name} and {descriptor.full_name} differ in {sorted(differing)}")


def _describe_dataclass_field(name: str, meta: FieldMetadata) -> tuple[object, ...]:
    kinds = (part.unwrap().__name__ if part.unwrap else part.proto_type for part in meta.map_meta or (meta,))
    return meta.number, _normalize_name(name), bool(meta.repeated or meta.map_meta), bool(meta.optional), *kinds


def _describe_proto_field(field: FieldDescriptor) -> tuple[object, ...]:
    kinds = map(_betterproto_type, value_fields(field))
    return field.number, _normalize_name(field.name), field.is_repeated, field.has_presence, *kinds


def _normalize_name(name: str) -> str:
    """Removes what betterproto2 changes in names: `from_` is `from`, `OuterInner` is `Outer.Inner`."""
    return name.replace("_", "").replace(".", "").lower()


def _betterproto_type(field: FieldDescriptor) -> str:
    """Returns betterproto2's name of a field's type: "int32", "message", or "Timestamp" for a type that it unwraps."""
    if field.message_type and field.message_type.full_name in CONVERTERS:
        return field.message_type.name
    return FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name.removeprefix("TYPE_").lower()
