"""The contract as data: gen/descriptors.binpb, read once, for whoever asks what the protos say."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Any

from google.api import annotations_pb2, field_behavior_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2

DESCRIPTORS = Path(__file__).resolve().parents[3] / "gen" / "descriptors.binpb"
"""The serialised FileDescriptorSet: our protos and all that they import, and google.rpc's error details."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The longest message, at every door."""

MAX_HEADER_BYTES = 32 * 1024
"""The longest headers of a request: names and values together."""

MAX_METADATA_BYTES = 64 * 1024
"""The limit of gRPC for those headers: it counts 32 bytes more for each, and the gateway adds some."""

REMOTE_ADDRESS = "x-remote-address"
"""The header in which the gateway says whom it was called by. A caller's own is overwritten there."""

SERVICES = {
    "auth": "pulsetrack.auth.v1.AuthService",
    "patient": "pulsetrack.patient.v1.PatientService",
    "billing": "pulsetrack.billing.v1.BillingService",
    "analytics": "pulsetrack.analytics.v1.AnalyticsService",
}
"""The full name of each service by its short name, in the order in which they are started."""


_FROM_PACKAGES = {"google/api/http.proto", "google/rpc/status.proto"} | {
    module.DESCRIPTOR.name
    for module in (
        annotations_pb2,
        any_pb2,
        descriptor_pb2,
        duration_pb2,
        empty_pb2,
        error_details_pb2,
        field_behavior_pb2,
        field_mask_pb2,
        httpbody_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
}
"""Files that packages have put into the default pool already."""


PATH_VARIABLE = re.compile(r"\{[\w.]*\}")
"""A variable in a REST path, which stands for one segment."""


class AccessKind(Enum):
    """The kind of callers that may call a method."""

    PUBLIC = auto()
    """Anyone, without a token."""
    USERS = auto()
    """Users whose access token has one of the roles."""
    SERVICES = auto()
    """Services, with a service token."""
    CLIENT_CREDENTIALS = auto()
    """Services, without a token. The request carries their client credentials."""
    INTERNAL = auto()
    """Services, without a token. The response contains no secrets."""


@dataclass(frozen=True)
class Access:
    """Who may call a method, from its `access` option. Roles are as in a token: "USER", "ADMIN"."""

    kind: AccessKind
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Http:
    """A REST binding, from `google.api.http`: the verb, the path template, and the body field ("*", a name, or "")."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True)
class Method:
    """A method of the contract."""

    name: str
    """As in the proto: "CreatePatient"."""
    path: str
    """As in the :path of a call: "/pulsetrack.patient.v1.PatientService/CreatePatient"."""
    input: type[Message]
    output: type[Message]
    streams: bool
    """True if the server streams its answers."""
    access: Access
    http: tuple[Http, ...]
    """The REST bindings, none for a method between services."""

    @property
    def snake_name(self) -> str:
        """The name of what handles or calls it in Python: "create_patient"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


class ContractError(Exception):
    """Occurs when the protos say something that PulseTrack cannot serve."""


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """Returns the default pool with the files of the committed contract in it."""
    return add_to_pool(descriptor_set().file)


def add_to_pool(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """Adds files to the default pool and returns it.

    The default one, because only there do options come back with their extensions parsed.
    """
    default = descriptor_pool.Default()
    for file in files:
        if file.name not in _FROM_PACKAGES:
            default.AddSerializedFile(file.SerializeToString())
    return default


@cache
def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Reads the committed descriptor set."""
    return descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())


def service(full_name: str) -> ServiceDescriptor:
    """Returns a service's descriptor. Raises KeyError for an unknown name."""
    return pool().FindServiceByName(full_name)


def message_class(full_name: str) -> type[Message]:
    """Returns the upb class of a message. Raises KeyError for an unknown name."""
    return GetMessageClass(pool().FindMessageTypeByName(full_name))


@cache
def methods(service_name: str) -> tuple[Method, ...]:
    """Returns the methods of a service, by the service's full name. Raises ContractError, KeyError."""
    return tuple(read_method(method) for method in service(service_name).methods)


def all_methods() -> Iterator[Method]:
    """Yields the methods of all services."""
    for name in SERVICES.values():
        yield from methods(name)


@cache
def required_fields(message: Descriptor) -> tuple[str, ...]:
    """Returns the names of a message's fields that google.api.field_behavior marks as REQUIRED."""
    return _fields_that_are(message, field_behavior_pb2.REQUIRED)


@cache
def output_only_fields(message: Descriptor) -> tuple[str, ...]:
    """Returns the names of a message's fields that google.api.field_behavior marks as OUTPUT_ONLY."""
    return _fields_that_are(message, field_behavior_pb2.OUTPUT_ONLY)


@cache
def max_lengths(message: Descriptor) -> dict[str, int]:
    """Returns how many characters a message's fields may have at most, of those that have a max_len rule."""
    rules: Any = pool().FindExtensionByName("buf.validate.field")
    lengths = {field.name: field.GetOptions().Extensions[rules].string.max_len for field in message.fields}
    return {name: length for name, length in lengths.items() if length}


def _fields_that_are(message: Descriptor, behavior: field_behavior_pb2.FieldBehavior.ValueType) -> tuple[str, ...]:
    def marked(field: FieldDescriptor) -> bool:
        return behavior in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]

    return tuple(field.name for field in message.fields if marked(field))


def read_method(method: MethodDescriptor) -> Method:
    """Returns what a descriptor says of a method. Raises ContractError."""
    if method.client_streaming:
        raise ContractError(f"{method.full_name} streams requests, which is not supported")
    return Method(
        name=method.name,
        path=f"/{method.containing_service.full_name}/{method.name}",
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        streams=method.server_streaming,
        access=_access(method),
        http=tuple(_bindings(method)),
    )


def _access(method: MethodDescriptor) -> Access:
    files: Any = method.containing_service.file.pool
    extension = files.FindExtensionByName("pulsetrack.options.v1.access")
    option: Any = method.GetOptions().Extensions[extension]
    said = [field.name for field, _ in option.ListFields()]
    if len(said) != 1:
        raise ContractError(f"{method.full_name} must say in its access option exactly one of who may call, not {said}")
    match said[0]:
        case "public":
            return Access(AccessKind.PUBLIC)
        case "services":
            return Access(AccessKind.SERVICES)
        case "client_credentials":
            return Access(AccessKind.CLIENT_CREDENTIALS)
        case "internal":
            return Access(AccessKind.INTERNAL)
        case _:
            if not all(option.roles):
                raise ContractError(f"{method.full_name} admits ROLE_UNSPECIFIED, which nobody has")
            names = option.DESCRIPTOR.fields_by_name["roles"].enum_type.values_by_number
            return Access(AccessKind.USERS, frozenset(names[role].name.removeprefix("ROLE_") for role in option.roles))


def _bindings(method: MethodDescriptor) -> Iterator[Http]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        if verb := binding.WhichOneof("pattern"):
            yield Http(verb=verb.upper(), path=getattr(binding, verb), body=binding.body)
