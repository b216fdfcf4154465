"""The standard gRPC services that every service also serves: health and reflection.

The servicers are grpcio's. The handlers are registered here instead of by grpcio, because grpcio responds to malformed
bytes with the name of a Python class.
"""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from grpc.aio import EOF
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2

from services.common.protobuf import contract

_REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


def create_health_handlers(servicer: health.aio.HealthServicer) -> grpc.GenericRpcHandler:
    """Returns the handlers of grpc.health.v1.Health. Malformed bytes count as a request for an unknown service."""
    unknown = HealthCheckRequest(service="?")
    parse, write = _create_parser(HealthCheckRequest, default=unknown), HealthCheckResponse.SerializeToString

    async def check(_: Any, context: Any) -> HealthCheckResponse:
        request = await context.read()  # as in `bind_interceptors`: responds to a call that ends within its request
        return await servicer.Check(unknown if request is EOF else request, context)

    return grpc.method_handlers_generic_handler(
        health.SERVICE_NAME,
        {
            "Check": grpc.stream_unary_rpc_method_handler(check, parse, write),
            "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, parse, write),
        },
    )


def create_reflection_handlers() -> tuple[grpc.GenericRpcHandler, ...]:
    """Returns the handlers of reflection for all four services, in v1alpha and v1, which have the same messages.

    Malformed bytes count as an empty request. The response is INVALID_ARGUMENT.
    """
    _add_reflection_v1_to_pool()
    servicer = reflection.aio.ReflectionServicer(
        (*contract.SERVICES.values(), health.SERVICE_NAME, *_REFLECTION), pool=_MethodPool(contract.pool())
    )
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        _create_parser(reflection_pb2.ServerReflectionRequest, default=reflection_pb2.ServerReflectionRequest()),
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in _REFLECTION)


def _create_parser(message: type[Message], *, default: Message) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        try:
            return message.FromString(data)
        except DecodeError:
            return default

    return parse


def _add_reflection_v1_to_pool() -> None:
    """Adds reflection v1, for which grpcio has no module, to the pool, so reflection describes itself."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    contract.pool().AddSerializedFile(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString())


class _MethodPool:
    """A descriptor pool that also finds methods by name, as the reflection protocol requires."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - overrides the pool's method
        """Returns the file that defines a symbol. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file
