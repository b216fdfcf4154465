"""The wire: google.protobuf's messages turned into betterproto2 dataclasses, which handlers use, and back.

google.protobuf parses and serialises, strictly and in C; a codec only moves the values of fields. What moves how:

- Timestamps become datetimes in UTC, Durations timedeltas. What is less than a microsecond is cut off.
- An absent `optional` field, message, wrapper or member of a oneof is None.
- A number that an enum doesn't know is kept, as a member without a name.
- Fields that a message doesn't know are dropped.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar, cast, get_args, get_type_hints

from betterproto2 import FieldMetadata
from betterproto2 import Message as Dataclass
from google.protobuf import wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from gen.message_pool import default_message_pool
from services.common.protobuf import contract

M = TypeVar("M", bound=Dataclass)

Upb = Any  # a google.protobuf message: its fields are known at run time only
# Of the field with a name; of one value; of a message that was just made.
Read: TypeAlias = Callable[[Upb, str], Any]
Write: TypeAlias = Callable[[Upb, str, Any], None]
Convert: TypeAlias = Callable[[Any], Any]
Fill: TypeAlias = Callable[[Upb, Any], None]
Begun: TypeAlias = "dict[tuple[type, Descriptor], Codec[Any]]"  # compiled together: messages may contain themselves


class CodecError(ValueError):
    """Occurs when a dataclass holds what its message can't, or isn't of its message: a mistake in the server."""


class TimeRangeError(CodecError):
    """Occurs when a message from outside holds a time that is not in the years 1 to 9999, or a duration as absurd."""

    def __init__(self, message: str, field: str) -> None:
        self.field = field
        super().__init__(f"{message}.{field} is out of range: times are in the years 1 to 9999")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Codec(Generic[M]):
    """Turns messages of one type into dataclasses and back."""

    dataclass_type: type[M]
    message_class: type[Message]
    fields: list[tuple[str, str, Read, Write]]
    """Their names in the dataclass (`from_`) and in the proto (`from`), in the order of the dataclass."""
    oneofs: list[Callable[[M], tuple[Any, ...]]]
    """What gets the members of each oneof."""

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
            raise CodecError(f"{self._name} can't be made of a {type(value).__name__}")
        for members in self.oneofs:
            if (held := members(value)).count(None) < len(held) - 1:
                raise CodecError(f"{self._name} can hold only one member of a oneof")
        for name, proto_name, _, write in self.fields:
            try:
                write(message, proto_name, getattr(value, name))
            except CodecError:
                raise
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                kind = type(getattr(value, name)).__name__
                # Not chained to its cause, which quotes the value: it may be a patient's.
                raise CodecError(f"{self._name}.{proto_name} can't hold this {kind}: {type(error).__name__}") from None

    def loads(self, data: bytes) -> M:
        """Parses a message. Raises google.protobuf.message.DecodeError if it is malformed, TimeRangeError."""
        return self.decode(self.message_class.FromString(data))

    def dumps(self, value: M) -> bytes:
        """Serialises a message. Raises CodecError."""
        return self.encode(value).SerializeToString()

    @property
    def _name(self) -> str:
        return self.message_class.DESCRIPTOR.full_name


def codec(dataclass_type: type[M], message_class: type[Message]) -> Codec[M]:
    """Returns the codec between a dataclass and its google.protobuf class, compiled once. Raises CodecError."""
    return cast("Codec[M]", _compiled(dataclass_type, message_class.DESCRIPTOR))


def codec_of(dataclass_type: type[M]) -> Codec[M]:
    """Returns the codec between a dataclass of gen/ and the contract's message of that name. Raises CodecError."""
    return codec(dataclass_type, contract.message_class(full_name(dataclass_type)))


def full_name(dataclass_type: type[Dataclass]) -> str:
    """Returns what the protos call a dataclass of gen/: "pulsetrack.patient.v1.Patient". Raises CodecError."""
    if url := default_message_pool.type_to_url.get(dataclass_type):
        return url.rpartition("/")[2]
    raise CodecError(f"{dataclass_type.__qualname__} is not a message of gen/")


@cache
def _compiled(dataclass_type: type[Any], descriptor: Descriptor) -> Codec[Any]:
    return _compile(dataclass_type, descriptor, {})


def _compile(dataclass_type: type[Any], descriptor: Descriptor, begun: Begun) -> Codec[Any]:
    _check(dataclass_type, descriptor)
    codec: Codec[Any] = Codec(dataclass_type, GetMessageClass(descriptor), fields=[], oneofs=[])
    begun[dataclass_type, descriptor] = codec
    hints = get_type_hints(dataclass_type, vars(sys.modules[dataclass_type.__module__]), {})
    names = {}
    for name, number in ((field.name, FieldMetadata.get(field).number) for field in fields(dataclass_type)):
        field = descriptor.fields_by_number[number]
        names[field.name] = name
        codec.fields.append((name, field.name, *_moves(field, hints[name], begun)))
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1:
            codec.oneofs.append(attrgetter(*(names[member.name] for member in oneof.fields)))
    return codec


def _check(dataclass_type: type[Any], descriptor: Descriptor) -> None:
    """Raises CodecError if a dataclass is not of the message that the descriptor describes."""
    name = dataclass_type.__name__
    if _bare(name) != _bare(descriptor.full_name.removeprefix(descriptor.file.package)):
        raise CodecError(f"{name} is not the dataclass of {descriptor.full_name}")
    declared = {_declared(field.name, FieldMetadata.get(field)) for field in fields(dataclass_type)}
    if differing := declared ^ {_described(field) for field in descriptor.fields}:
        raise CodecError(f"{name} and {descriptor.full_name} differ in {sorted(differing)}")


def _declared(name: str, meta: FieldMetadata) -> tuple[object, ...]:
    kinds = (part.unwrap().__name__ if part.unwrap else part.proto_type for part in meta.map_meta or (meta,))
    return meta.number, _bare(name), bool(meta.repeated or meta.map_meta), bool(meta.optional), *kinds


def _described(field: FieldDescriptor) -> tuple[object, ...]:
    return field.number, _bare(field.name), field.is_repeated, field.has_presence, *map(_kind, _parts(field))


def _bare(name: str) -> str:
    """Returns a name without what betterproto2 changes in it: `from_` is `from`, `OuterInner` is `Outer.Inner`."""
    return name.replace("_", "").replace(".", "").lower()


def _kind(field: FieldDescriptor) -> str:
    """Returns what betterproto2 calls a field's type: "int32", "message", or "Timestamp" for what it unwraps."""
    if field.message_type and field.message_type.full_name in _WRAPPED:
        return field.message_type.name
    return FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name.removeprefix("TYPE_").lower()


def _parts(field: FieldDescriptor) -> Sequence[FieldDescriptor]:
    """Returns a map's key and value, or else the field itself."""
    message = field.message_type
    return message.fields if message and message.GetOptions().map_entry else [field]


def _moves(field: FieldDescriptor, hint: object, begun: Begun) -> tuple[Read, Write]:
    """Returns how to read and write a field, whose type in the dataclass is `hint`."""
    *key, value = _parts(field)
    held: Any = [argument for argument in get_args(hint) or [hint] if argument is not type(None)][-1]
    convert, fill = _conversion(value, held, begun)
    if key:
        return _map(convert, fill)
    if field.is_repeated:
        return _list(convert, fill)
    if field.has_presence:
        return _optional(convert, fill)
    return (getattr if convert is _itself else lambda message, name: convert(getattr(message, name))), setattr


def _conversion(value: FieldDescriptor, held: type[Any], begun: Begun) -> tuple[Convert, Fill | None]:
    """Returns how to convert a single value to the type that the dataclass holds, and how to fill it if a message."""
    if value.enum_type:
        return held, None
    if value.message_type is None:
        return _itself, None
    if wrapped := _WRAPPED.get(value.message_type.full_name):
        return wrapped
    codec = begun.get((held, value.message_type)) or _compile(held, value.message_type, begun)
    return codec.decode, codec.fill


def _itself(value: object) -> object:
    return value


def _optional(convert: Convert, fill: Fill | None) -> tuple[Read, Write]:
    def read(message: Upb, name: str) -> object:
        return convert(getattr(message, name)) if message.HasField(name) else None

    def write(message: Upb, name: str, value: object) -> None:
        if value is not None and fill:
            inner = getattr(message, name)
            inner.SetInParent()
            fill(inner, value)
        elif value is not None:
            setattr(message, name, value)

    return read, write


def _list(convert: Convert, fill: Fill | None) -> tuple[Read, Write]:
    def read(message: Upb, name: str) -> list[Any]:
        return [convert(item) for item in getattr(message, name)]

    def write(message: Upb, name: str, value: object) -> None:
        items = getattr(message, name)
        if not isinstance(value, list):  # a str would become a list of letters
            raise TypeError
        if fill is None:
            items.extend(value)
        else:
            for item in value:
                fill(items.add(), item)

    return read, write


def _map(convert: Convert, fill: Fill | None) -> tuple[Read, Write]:
    def read(message: Upb, name: str) -> dict[Any, Any]:
        items = getattr(message, name)
        return {key: convert(items[key]) for key in items}

    def write(message: Upb, name: str, value: dict[Any, Any]) -> None:
        items = getattr(message, name)
        if fill is None:
            items.update(value)
        else:
            for key, item in value.items():
                fill(items[key], item)

    return read, write


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = range(-719_162, 2_932_897)  # of the years 1 to 9999
_WRAPPERS = wrappers_pb2.DESCRIPTOR.message_types_by_name.values()


def _datetime(timestamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)


def _fill_timestamp(timestamp: Timestamp, value: datetime) -> None:
    since = value - _EPOCH
    if since.days not in _DAYS:
        raise ValueError
    timestamp.seconds = since.days * 86400 + since.seconds
    timestamp.nanos = since.microseconds * 1000


def _timedelta(duration: Duration) -> timedelta:
    return timedelta(0, duration.seconds, int(duration.nanos / 1000))


def _fill_duration(duration: Duration, value: timedelta) -> None:
    sign, size = (-1, -value) if value.days < 0 else (1, value)  # seconds and nanos have the same sign
    duration.seconds = sign * (size.days * 86400 + size.seconds)
    duration.nanos = sign * size.microseconds * 1000


def _fill_wrapper(wrapper: Upb, value: object) -> None:
    wrapper.value = value


_WRAPPED: dict[str, tuple[Convert, Fill]] = {
    "google.protobuf.Timestamp": (_datetime, _fill_timestamp),
    "google.protobuf.Duration": (_timedelta, _fill_duration),
    **{wrapper.full_name: (attrgetter("value"), _fill_wrapper) for wrapper in _WRAPPERS},
}
