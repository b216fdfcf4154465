"""Random messages of any type, for property tests with hypothesis."""

from datetime import timedelta
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-4, 4) | st.integers(-(2**31), 2**31 - 1),
}
DURATIONS = st.timedeltas(timedelta(seconds=-315_576_000_000), timedelta(seconds=315_576_000_000))


def scalars(field: Any) -> st.SearchStrategy[Any]:
    return st.binary(max_size=8) if field.type == field.TYPE_BYTES else SCALARS[field.cpp_type]


def populate(draw: Any, message: Any, depth: int = 3) -> Any:
    """Sets some fields of a message to drawn values, at most `depth` messages deep."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        message.FromDatetime(draw(st.datetimes()))
    elif message.DESCRIPTOR.full_name == "google.protobuf.Duration":
        message.FromTimedelta(draw(DURATIONS))
    elif fields := [field for field in message.DESCRIPTOR.fields if depth or not field.message_type]:
        for field in draw(st.lists(st.sampled_from(fields), unique=True, max_size=5)):
            populate_field(draw, message, field, depth)
    return message


def populate_field(draw: Any, message: Any, field: Any, depth: int) -> None:
    inside: Any = getattr(message, field.name)
    if not field.is_repeated and not field.message_type:
        setattr(message, field.name, draw(scalars(field)))
    elif not field.is_repeated:
        inside.SetInParent()
        populate(draw, inside, depth - 1)
    elif not field.message_type:
        inside.extend(draw(st.lists(scalars(field), max_size=3)))
    elif not field.message_type.GetOptions().map_entry:
        for _ in range(draw(st.integers(0, 3))):
            populate(draw, inside.add(), depth - 1)
    else:
        key_field, value_field = field.message_type.fields
        for key in draw(st.lists(scalars(key_field), max_size=3)):
            if value_field.message_type:
                populate(draw, inside[key], depth - 1)
            else:
                inside[key] = draw(scalars(value_field))
