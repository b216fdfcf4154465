"""The codec, compared with google.protobuf for every kind of proto3 field and every message of the contract."""

import contextlib
import importlib
import os
import pkgutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api import httpbody_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gen
from gen.google.api import HttpBody
from gen.message_pool import default_message_pool
from gen.pulsetrack.patient.v1 import GetPatientRequest, Patient, PatientDeleted, PatientEvent
from services.common.protobuf import contract
from services.common.protobuf.codec import Codec, CodecError, TimeRangeError, codec, codec_of, full_name
from tests.common.protobuf.random_messages import populate

KNOWN = ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"]
PROTOS = ["kitchen_sink.proto", "google/api/httpbody.proto", *(f"google/protobuf/{name}.proto" for name in KNOWN)]
MESSAGES = ["Sink", "Plain", "Optional", "Repeated", "Keys", "Values", "Choice", "Tree", "WellKnown", "Named"]

for module in pkgutil.walk_packages(gen.__path__, "gen."):
    importlib.import_module(module.name)
DATACLASSES = sorted(default_message_pool.type_to_url, key=full_name)


def find_class(files: FileDescriptorSet, name: str) -> type[Message]:
    """Returns the class of a message, in a separate descriptor pool."""
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(name))


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The dataclasses of kitchen_sink.proto, their codecs by name as `codecs`, and their descriptors as `files`."""
    folder = tmp_path_factory.mktemp("kitchen")
    (folder / "kitchen_gen").mkdir()
    options = ["--include_imports", "--descriptor_set_out=set.binpb", "--python_betterproto2_out=kitchen_gen"]
    includes = [f"-I{Path(__file__).parent}", f"-I{Path(httpbody_pb2.__file__).parents[2]}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # contains the compiler plugin
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *PROTOS]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, env=os.environ | {"PATH": path})
    files = FileDescriptorSet.FromString((folder / "set.binpb").read_bytes())
    types: Any = find_class(files, "kitchen.v1.Sink").DESCRIPTOR.file.message_types_by_name
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        known = vars(importlib.import_module("kitchen_gen.google.protobuf"))
        ours = vars(importlib.import_module("kitchen_gen.kitchen.v1"))
        codecs = {name: codec(ours[name], GetMessageClass(types[name])) for name in MESSAGES}
        yield SimpleNamespace(**known | ours, codecs=codecs, files=files)


def round_trip(kitchen: Any, value: Any) -> Any:
    """Returns the dataclass after serialization and parsing."""
    message_codec = kitchen.codecs[type(value).__name__]
    return message_codec.loads(message_codec.dumps(value))


def check_round_trip(draw: Any, message_codec: Codec[Any]) -> None:
    original = populate(draw, message_codec.message_class())
    expected = original.SerializeToString(deterministic=True)
    assert message_codec.encode(message_codec.decode(original)).SerializeToString(deterministic=True) == expected
    arrived = message_codec.message_class.FromString(
        message_codec.dumps(message_codec.loads(original.SerializeToString()))
    )
    assert arrived.SerializeToString(deterministic=True) == expected


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.mark.parametrize("name", MESSAGES)
@fuzz
@given(data=st.data())
def test_every_kind_of_field_round_trips(kitchen: Any, name: str, data: Any) -> None:
    check_round_trip(data.draw, kitchen.codecs[name])


@pytest.mark.parametrize("dataclass_type", DATACLASSES, ids=full_name)
@settings(fuzz, max_examples=25)  # these messages contain each other
@given(data=st.data())
def test_every_message_of_the_contract_round_trips(dataclass_type: Any, data: Any) -> None:
    check_round_trip(data.draw, codec_of(dataclass_type))


@fuzz
@given(data=st.data())
def test_codec_rejects_the_bytes_that_google_protobuf_rejects(kitchen: Any, data: Any) -> None:
    message_codec = kitchen.codecs["Sink"]
    whole = populate(data.draw, message_codec.message_class()).SerializeToString()
    damaged = data.draw(st.binary() | st.integers(0, len(whole)).map(lambda end: whole[:end]))
    outcome: Any = contextlib.suppress(TimeRangeError)
    try:
        message_codec.message_class.FromString(damaged)
    except DecodeError:
        outcome = pytest.raises(DecodeError)
    with outcome:
        message_codec.loads(damaged)


def test_optional_fields_distinguish_zero_from_absent(kitchen: Any) -> None:
    scalars = kitchen.Optional(an_int32=0, a_string="", some_bytes=b"", a_bool=False, color=kitchen.Color(0))
    messages = kitchen.WellKnown(int64_value=0, string_value="", empty=kitchen.Empty(), duration=timedelta())
    assert len(kitchen.codecs["Optional"].encode(scalars).ListFields()) == 5
    assert len(kitchen.codecs["WellKnown"].encode(messages).ListFields()) == 4
    assert (round_trip(kitchen, scalars), round_trip(kitchen, messages)) == (scalars, messages)
    assert (round_trip(kitchen, scalars).a_double, round_trip(kitchen, messages).bool_value) == (None, None)


def test_oneof_has_one_member_which_can_be_zero(kitchen: Any) -> None:
    for member, zero in {"number": 0, "text": "", "data": b"", "bool_value": False}.items():
        choice = kitchen.Choice(**{member: zero}, yes=False)
        assert kitchen.codecs["Choice"].encode(choice).WhichOneof("one") == member
        assert round_trip(kitchen, choice) == choice
    with pytest.raises(CodecError, match=r"kitchen.v1.Choice has more than one member of a oneof"):
        round_trip(kitchen, kitchen.Choice(number=0, text=""))


def test_unknown_enum_numbers_are_preserved(kitchen: Any) -> None:
    unknown = kitchen.Color(2**31 - 1)
    assert isinstance(round_trip(kitchen, kitchen.Plain(color=unknown)).color, kitchen.Color)
    assert round_trip(kitchen, kitchen.Plain(color=unknown)).color == unknown
    assert round_trip(kitchen, kitchen.Values(colors={"a": unknown})).colors == {"a": unknown}
    assert round_trip(kitchen, kitchen.Repeated(colors=[kitchen.Color.RED, unknown])).colors[0] is kitchen.Color.RED


def test_maps_can_contain_messages_times_and_wrapped_values(kitchen: Any) -> None:
    value = kitchen.Values(
        plains={-1: kitchen.Plain(a_string="x"), 0: kitchen.Plain()},
        timestamps={"": datetime(1970, 1, 1, tzinfo=UTC)},
        int64_values={"zero": 0},
        values={"inner": kitchen.Values(durations={"d": timedelta(days=-1)})},
    )
    assert round_trip(kitchen, value) == value


def test_message_can_contain_its_own_type(kitchen: Any) -> None:
    leaf = kitchen.TreeLeaf(tree=kitchen.Tree(name="below"), kind=kitchen.TreeLeafKind.GREEN)
    tree = kitchen.Tree(left=kitchen.Tree(left=kitchen.Tree()), by_name={"a": kitchen.Tree(leaf=leaf)})
    assert round_trip(kitchen, tree) == tree


def test_http_body_bytes_are_unchanged() -> None:
    body = HttpBody(content_type="image/png", data=bytes(range(256)))
    message: Any = codec_of(HttpBody).encode(body)
    assert (message.content_type, message.data) == ("image/png", bytes(range(256)))
    assert codec_of(HttpBody).decode(message) == body


def test_fields_renamed_in_python_keep_their_proto_names(kitchen: Any) -> None:
    value = kitchen.Named(from_="a", class_="", import_=["b"], lambda_={"c": "d"}, async_=kitchen.Named(int=1))
    message = kitchen.codecs["Named"].encode(value)
    assert {field.name for field, _ in message.ListFields()} == {"from", "class", "import", "lambda", "async"}
    assert round_trip(kitchen, value) == value


@pytest.mark.parametrize(
    ("time", "seconds", "nanos"),
    [
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1, 999_999_000),
        (datetime.min.replace(tzinfo=UTC), -62_135_596_800, 0),
        (datetime.max.replace(tzinfo=UTC), 253_402_300_799, 999_999_000),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), -3600, 0),
    ],
)
def test_times_are_converted_to_utc(time: datetime, seconds: int, nanos: int) -> None:
    message: Any = codec_of(Patient).encode(Patient(create_time=time))
    assert (message.create_time.seconds, message.create_time.nanos) == (seconds, nanos)
    assert codec_of(Patient).decode(message).create_time == time.astimezone(UTC)


def test_times_are_truncated_to_microseconds(kitchen: Any) -> None:
    message = kitchen.codecs["WellKnown"].message_class()
    message.timestamp.seconds, message.timestamp.nanos = -1, 999_999_999
    message.duration.seconds, message.duration.nanos = -1, -999_999_999
    value = kitchen.codecs["WellKnown"].decode(message)
    assert (value.timestamp.microsecond, value.duration) == (999_999, timedelta(seconds=-2, microseconds=1))


@pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800, 2**63 - 1, -(2**63)])
def test_time_out_of_range_error_names_the_field(seconds: int) -> None:
    event: Any = codec_of(PatientEvent).message_class()
    event.created.patient.update_time.seconds = seconds
    with pytest.raises(TimeRangeError, match=r"pulsetrack.patient.v1.Patient.update_time is out of range"):
        codec_of(PatientEvent).decode(event)


INVALID_VALUES: dict[str, dict[str, object]] = {
    "Plain": {"a_string": 7, "some_bytes": "secret", "an_int32": 2**31, "a_uint64": None, "a_double": 10**400},
    "Optional": {"a_string": "secret \ud800", "an_int32": 1.5, "a_uint32": -1, "color": "secret", "plain": "secret"},
    "Repeated": {"strings": "secret", "string_values": ["secret", None], "plains": [None]},
    "Keys": {"int32s": {"secret": "a"}},
    "Values": {"plains": None, "timestamps": {"naive": datetime(2026, 1, 1)}},  # noqa: DTZ001
    "WellKnown": {"duration": 3600, "timestamp": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
}


@pytest.mark.parametrize(
    ("message", "field"), [(message, field) for message in INVALID_VALUES for field in INVALID_VALUES[message]]
)
def test_invalid_value_is_rejected_without_quoting_it(kitchen: Any, message: str, field: str) -> None:
    with pytest.raises(CodecError, match=r"^kitchen\.v1\.") as rejected:
        kitchen.codecs[message].encode(getattr(kitchen, message)(**{field: INVALID_VALUES[message][field]}))
    assert "secret" not in "".join(traceback.format_exception(rejected.value))


def test_message_of_another_type_with_the_same_fields_is_rejected() -> None:
    other: Any = PatientDeleted(patient=Patient())
    with pytest.raises(
        CodecError, match=r"pulsetrack.patient.v1.PatientUndeleted cannot be encoded from a PatientDeleted"
    ):
        codec_of(PatientEvent).encode(PatientEvent(undeleted=other))
    with pytest.raises(
        CodecError, match=r"PatientDeleted is not the dataclass of pulsetrack.patient.v1.PatientCreated"
    ):
        codec(PatientDeleted, contract.message_class("pulsetrack.patient.v1.PatientCreated"))


def test_unknown_fields_are_dropped() -> None:
    request = codec_of(GetPatientRequest).loads(b"\x0a\x01x\xf8\x07\x01")
    assert (request, codec_of(GetPatientRequest).dumps(request)) == (GetPatientRequest(id="x"), b"\x0a\x01x")


def test_codec_is_found_by_name_and_compiled_once(kitchen: Any) -> None:
    assert full_name(Patient) == "pulsetrack.patient.v1.Patient"
    assert codec_of(Patient) is codec(Patient, contract.message_class("pulsetrack.patient.v1.Patient"))
    with pytest.raises(CodecError, match=r"Plain is not a message of gen/"):
        full_name(kitchen.Plain)


@pytest.mark.parametrize("change", [{"type": 3}, {"label": 3}, {"name": "renamed"}, {"number": 99}], ids=str)
def test_different_nested_field_is_rejected(kitchen: Any, change: dict[str, Any]) -> None:
    files = FileDescriptorSet.FromString(kitchen.files.SerializeToString())
    plain = next(message for file in files.file for message in file.message_type if message.name == "Plain")
    for key, value in change.items():
        setattr(plain.field[2], key, value)
    with pytest.raises(CodecError, match=r"Plain and kitchen.v1.Plain differ in .*3, 'anint32', False, False, 'int32'"):
        codec(kitchen.Sink, find_class(files, "kitchen.v1.Sink"))
