"""The contract as data: the services, methods, access options and REST paths of gen/descriptors.binpb."""

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
from google.rpc import error_details_pb2, status_pb2

DESCRIPTORS = Path(__file__).resolve().parents[3] / "gen" / "descriptors.binpb"
"""The serialized FileDescriptorSet: our protos, their imports, and the error details of google.rpc."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The maximum size of a message, at the gateway and at each service."""

MAX_HEADER_BYTES = 32 * 1024
"""The maximum total size of a request's header names and values."""

MAX_METADATA_BYTES = 64 * 1024
"""gRPC's limit for these headers. It counts 32 more bytes per header, and the gateway adds headers."""

REMOTE_ADDRESS = "x-remote-address"
"""The header in which the gateway passes the client's address. The gateway overwrites a value sent by the client."""

IF_MATCH, IF_NONE_MATCH = "if-match", "if-none-match"
"""The headers with the etags that a call requires or excludes (RFC 9110)."""

ETAG = "etag"
"""The name of the field with the version of a resource (AIP-154), and of the response header."""

FHIR = "/fhir/R4/"
"""The prefix of the paths of the FHIR API."""

FHIR_CONTENT = "application/fhir+json"
"""The content type of the FHIR API."""

FHIR_REASON = "urn:pulsetrack:reason"
"""The system of the codes of an OperationOutcome that are reasons of errors."""

LINES, FHIR_LINES = "application/x-ndjson", "application/fhir+ndjson"
"""The content types of files with an object per line: JSON of the API, and resources of FHIR."""

RAW_BODY = "google.api.HttpBody"
"""The message whose REST form is not JSON of its fields, but the bytes that it contains."""

SERVICES = {
    "auth": "pulsetrack.auth.v1.AuthService",
    "patient": "pulsetrack.patient.v1.PatientService",
    "billing": "pulsetrack.billing.v1.BillingService",
    "analytics": "pulsetrack.analytics.v1.AnalyticsService",
}
"""The full name of each service by its short name, in start order."""

_FROM_PACKAGES = {"google/api/http.proto"} | {
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
        status_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
}
"""Files that packages have already added to the default pool."""


PATH_VARIABLE = re.compile(r"\{[\w.]*\}")
"""A variable in a REST path. It matches one segment."""


class AccessKind(Enum):
    """The kind of callers that may call a method."""

    PUBLIC = auto()
    """Anyone, without a token."""
    USERS = auto()
    """Users whose access token has one of the roles, and machine clients whose access token has the scope."""
    SERVICES = auto()
    """Services, with a service token."""
    CLIENT_CREDENTIALS = auto()
    """Services, without a token. The request carries their client credentials."""
    INTERNAL = auto()
    """Services, without a token. The response contains no secrets."""


@dataclass(frozen=True)
class Access:
    """The callers that may call a method, from its `access` option. Roles are as in a token: "USER", "ADMIN"."""

    kind: AccessKind
    roles: frozenset[str] = frozenset()
    scope: str = ""
    """The scope that permits a machine client to call the method. Empty if no client may."""


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
    """The name in the proto: "CreatePatient"."""
    path: str
    """The :path of a call: "/pulsetrack.patient.v1.PatientService/CreatePatient"."""
    input: type[Message]
    output: type[Message]
    streams: bool
    """True if the server streams responses."""
    access: Access
    http: tuple[Http, ...]
    """The REST bindings. Empty for a method that only services call."""
    is_oauth_endpoint: bool = False
    """Whether REST requests may be form-encoded, and REST errors have the members of RFC 6749."""

    @property
    def snake_name(self) -> str:
        """The name of its Python method: "create_patient"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @property
    def is_fhir(self) -> bool:
        """Whether the REST API of the method is part of the FHIR API, whose errors are OperationOutcomes."""
        return any(http.path.startswith(FHIR) for http in self.http)

    @property
    def returns_etag(self) -> bool:
        """Whether the response is a resource with an etag."""
        return not self.streams and ETAG in self.output.DESCRIPTOR.fields_by_name

    @property
    def returns_lines(self) -> bool:
        """Whether the response of a REST call is a stream of JSON objects, one per line."""
        return self.streams and self.output.DESCRIPTOR.full_name != RAW_BODY

    def takes_raw_body(self, http: Http) -> bool:
        """Returns whether the service reads the body of a REST call itself. The gateway does not parse it."""
        message: Any = self.input.DESCRIPTOR
        field = message.fields_by_name.get(http.body)
        return field is not None and field.message_type.full_name == RAW_BODY

    def condition(self, http: Http) -> str | None:
        """Returns the header that makes a REST call conditional, or None if the path identifies no resource."""
        has_etag = self.returns_etag or (self.is_fhir and ETAG in self.input.DESCRIPTOR.fields_by_name)
        if not (has_etag and PATH_VARIABLE.search(http.path)):
            return None
        return IF_NONE_MATCH if http.verb in {"GET", "HEAD"} else IF_MATCH


class ContractError(Exception):
    """Raised when the protos declare something unsupported, or a service does not implement them."""


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """Returns the default pool, which contains the committed contract."""
    return add_to_pool(descriptor_set().file)


def add_to_pool(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """Adds files to the default pool and returns it. Only the default pool parses the extensions of options."""
    default = descriptor_pool.Default()
    for file in files:
        if file.name not in _FROM_PACKAGES:
            default.AddSerializedFile(file.SerializeToString())
    return default


@cache
def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Reads the committed descriptor set."""
    return descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())


@cache
def all_scopes() -> frozenset[str]:
    """Returns the scopes that the methods of all services name."""
    return frozenset(method.access.scope for method in all_methods()) - {""}


def find_service(full_name: str) -> ServiceDescriptor:
    """Returns a service's descriptor. Raises KeyError for an unknown name."""
    return pool().FindServiceByName(full_name)


def message_class(full_name: str) -> type[Message]:
    """Returns the google.protobuf class of a message. Raises KeyError for an unknown name."""
    return GetMessageClass(pool().FindMessageTypeByName(full_name))


@cache
def methods(service_name: str) -> tuple[Method, ...]:
    """Returns the methods of the service with a full name. Raises ContractError, KeyError."""
    return tuple(read_method(method) for method in find_service(service_name).methods)


def all_methods() -> Iterator[Method]:
    """Yields the methods of all services."""
    for name in SERVICES.values():
        yield from methods(name)


@cache
def required_fields(message: Descriptor) -> tuple[str, ...]:
    """Returns the names of the fields with the google.api.field_behavior REQUIRED."""
    return _fields_with_behavior(message, field_behavior_pb2.REQUIRED)


@cache
def output_only_fields(message: Descriptor) -> tuple[str, ...]:
    """Returns the names of the fields with the google.api.field_behavior OUTPUT_ONLY."""
    return _fields_with_behavior(message, field_behavior_pb2.OUTPUT_ONLY)


def _fields_with_behavior(message: Descriptor, behavior: field_behavior_pb2.FieldBehavior.ValueType) -> tuple[str, ...]:
    def has_behavior(field: FieldDescriptor) -> bool:
        return behavior in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]

    return tuple(field.name for field in message.fields if has_behavior(field))


def read_method(method: MethodDescriptor) -> Method:
    """Returns the method that a descriptor describes. Raises ContractError."""
    if method.client_streaming:
        raise ContractError(f"{method.full_name} streams requests, which is unsupported")
    return Method(
        name=method.name,
        path=f"/{method.containing_service.full_name}/{method.name}",
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        streams=method.server_streaming,
        access=_read_access(method),
        http=tuple(_read_bindings(method)),
        is_oauth_endpoint=_read_option(method, "oauth_endpoint"),
    )


def _read_access(method: MethodDescriptor) -> Access:
    option = _read_option(method, "access")
    set_fields = [field.name for field, _ in option.ListFields() if field.name != "scope"]
    if len(set_fields) != 1 or (option.scope and not option.roles):
        raise ContractError(f"{method.full_name} must set exactly one field of its access option, not {set_fields}")
    match set_fields[0]:
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
                raise ContractError(f"{method.full_name} permits ROLE_UNSPECIFIED, which no user has")
            names = option.DESCRIPTOR.fields_by_name["roles"].enum_type.values_by_number
            roles = frozenset(names[role].name.removeprefix("ROLE_") for role in option.roles)
            return Access(AccessKind.USERS, roles, option.scope)


def _read_option(method: MethodDescriptor, name: str) -> Any:
    files: Any = method.containing_service.file.pool
    return method.GetOptions().Extensions[files.FindExtensionByName(f"pulsetrack.options.v1.{name}")]


def _read_bindings(method: MethodDescriptor) -> Iterator[Http]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        if verb := binding.WhichOneof("pattern"):
            yield Http(verb=verb.upper(), path=getattr(binding, verb), body=binding.body)
