"""Accessors: read and write one field of a google.protobuf message as a plain Python value.

The codec creates an accessor for each field when it is compiled. The accessor's closures contain all decisions about
the field's type, so that a call makes none. For example, for the field `optional google.protobuf.Timestamp end_time`:

    accessor = create_accessor(field, CONVERTERS["google.protobuf.Timestamp"])
    accessor.write(message, "end_time", datetime(2026, 5, 1, tzinfo=UTC))  # sets `end_time { seconds: 1777593600 }`
    accessor.read(message, "end_time")  # datetime(2026, 5, 1, tzinfo=UTC), or None if the field is absent
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from google.protobuf import wrappers_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Upb = Any
"""A google.protobuf message. Its fields are known only at run time."""


Read: TypeAlias = Callable[[Upb, str], Any]
"""Returns the Python value of the field with a name. Raises OverflowError."""

Write: TypeAlias = Callable[[Upb, str, Any], None]
"""Sets the field with a name, in a new message. Raises TypeError, ValueError, AttributeError, OverflowError."""

Convert: TypeAlias = Callable[[Any], Any]
"""Returns the Python value of a single value of a message: a field's, or one in a repeated field or a map."""

Fill: TypeAlias = Callable[[Upb, Any], None]
"""Copies a Python value into a new submessage."""


class Accessor(NamedTuple):
    """Reads and writes a field."""

    read: Read
    write: Write


class Converter(NamedTuple):
    """Converts single values."""

    convert: Convert
    fill: Fill | None
    """None if the values are not messages: they are assigned unchanged."""


def _identity(value: object) -> object:
    return value


UNCHANGED = Converter(_identity, None)
"""The converter of scalars: numbers, booleans, strings and bytes."""


def create_accessor(field: FieldDescriptor, value: Converter) -> Accessor:
    """Returns the accessor of a field, given the converter of its values (of a map: of the values of its entries)."""
    if len(value_fields(field)) > 1:
        return _create_map_accessor(*value)
    if field.is_repeated:
        return _create_list_accessor(*value)
    if field.has_presence:
        return _create_optional_accessor(*value)
    if value is UNCHANGED:
        return Accessor(getattr, setattr)
    convert = value.convert
    return Accessor(lambda message, name: convert(getattr(message, name)), setattr)


def value_fields(field: FieldDescriptor) -> Sequence[FieldDescriptor]:
    """Returns a map's key and value fields, or else the field itself."""
    message = field.message_type
    return message.fields if message and message.GetOptions().map_entry else [field]


def _create_optional_accessor(convert: Convert, fill: Fill | None) -> Accessor:
    def read(message: Upb, name: str) -> object:
        return convert(getattr(message, name)) if message.HasField(name) else None

    def write(message: Upb, name: str, value: object) -> None:
        if value is not None and fill:
            inner = getattr(message, name)
            inner.SetInParent()
            fill(inner, value)
        elif value is not None:
            setattr(message, name, value)

    return Accessor(read, write)


def _create_list_accessor(convert: Convert, fill: Fill | None) -> Accessor:
    def read(message: Upb, name: str) -> list[Any]:
        return [convert(item) for item in getattr(message, name)]

    def write(message: Upb, name: str, value: object) -> None:
        items = getattr(message, name)
        if not isinstance(value, list):  # a string would become a list of characters
            raise TypeError
        if fill is None:
            items.extend(value)
        else:
            for item in value:
                fill(items.add(), item)

    return Accessor(read, write)


def _create_map_accessor(convert: Convert, fill: Fill | None) -> Accessor:
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

    return Accessor(read, write)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = range(-719_162, 2_932_897)  # the years 1 to 9999
_WRAPPERS = wrappers_pb2.DESCRIPTOR.message_types_by_name.values()


def _to_datetime(timestamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)


def _fill_timestamp(timestamp: Timestamp, value: datetime) -> None:
    since = value - _EPOCH
    if since.days not in _DAYS:
        raise ValueError
    timestamp.seconds = since.days * 86400 + since.seconds
    timestamp.nanos = since.microseconds * 1000


def _to_timedelta(duration: Duration) -> timedelta:
    return timedelta(0, duration.seconds, int(duration.nanos / 1000))


def _fill_duration(duration: Duration, value: timedelta) -> None:
    sign, size = (-1, -value) if value.days < 0 else (1, value)  # seconds and nanos have the same sign
    duration.seconds = sign * (size.days * 86400 + size.seconds)
    duration.nanos = sign * size.microseconds * 1000


def _fill_wrapper(wrapper: Upb, value: object) -> None:
    wrapper.value = value


CONVERTERS: dict[str, Converter] = {
    "google.protobuf.Timestamp": Converter(_to_datetime, _fill_timestamp),
    "google.protobuf.Duration": Converter(_to_timedelta, _fill_duration),
    **{wrapper.full_name: Converter(attrgetter("value"), _fill_wrapper) for wrapper in _WRAPPERS},
}
"""The converters of the well-known types that betterproto2 unwraps, by full name."""
