"""The standard services that stand beside each of ours: health and reflection.

Their servicers are grpcio's. They are registered here by hand, so that malformed bytes get an answer of the protocol:
grpcio's own would be the name of a Python class.
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


def health_handlers(servicer: health.aio.HealthServicer) -> grpc.GenericRpcHandler:
    """Returns the handlers of grpc.health.v1.Health. To malformed bytes the service that is asked for is unknown."""
    unknown = HealthCheckRequest(service="?")
    parse, write = _parser(HealthCheckRequest, otherwise=unknown), HealthCheckResponse.SerializeToString

    async def check(_: Any, context: Any) -> HealthCheckResponse:
        asked = await context.read()  # as `bind` does, so that a call that ends within its request is answered
        return await servicer.Check(unknown if asked is EOF else asked, context)

    return grpc.method_handlers_generic_handler(
        health.SERVICE_NAME,
        {
            "Check": grpc.stream_unary_rpc_method_handler(check, parse, write),
            "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, parse, write),
        },
    )


def reflection_handlers() -> tuple[grpc.GenericRpcHandler, ...]:
    """Returns the handlers of reflection over all four services, in v1alpha and in v1, whose messages are the same.

    Malformed bytes are answered as a request for nothing is: INVALID_ARGUMENT.
    """
    _add_reflection_v1_to_pool()
    servicer = reflection.aio.ReflectionServicer(
        (*contract.SERVICES.values(), health.SERVICE_NAME, *_REFLECTION), pool=_SymbolsOf(contract.pool())
    )
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        _parser(reflection_pb2.ServerReflectionRequest, otherwise=reflection_pb2.ServerReflectionRequest()),
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in _REFLECTION)


def _parser(message: type[Message], *, otherwise: Message) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        try:
            return message.FromString(data)
        except DecodeError:
            return otherwise

    return parse


def _add_reflection_v1_to_pool() -> None:
    """Lets reflection describe its own v1, which grpcio has no module for."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    contract.pool().AddSerializedFile(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()).SerializeToString())


class _SymbolsOf:
    """A descriptor pool that finds methods too, as the reflection protocol has it."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's name for it
        """Returns the file of a symbol. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file
