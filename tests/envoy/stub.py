"""Stub services behind a gateway under test. They record each call and return the response that a test configures."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.protobuf.contract import SERVICES, Method, methods
from services.common.rpc.server import OPTIONS

Handler = Callable[[Any, grpc.ServicerContext], Message]


class Keys:
    """A signing key, its JWKS, and access tokens in the format of auth."""

    def __init__(self, kid: str = "k1") -> None:
        self._kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.jwks = json.dumps({"keys": [{**public, "kid": kid, "alg": "ES256", "use": "sig"}]}).encode()

    def token(self, **claims: object) -> str:
        now = int(time.time())
        defaults = {"iss": "pulsetrack-auth", "aud": "pulsetrack", "sub": "ana", "role": "USER", "exp": now + 600}
        return jwt.encode(defaults | claims, self._key, algorithm="ES256", headers={"kid": self._kid, "typ": "at+jwt"})


@dataclass
class Call:
    """A call that a service received."""

    path: str
    request: Any
    metadata: Mapping[str, str | bytes]


@dataclass
class Stub:
    """A service on its own port. It can be stopped and restarted."""

    service: str
    keys: Keys
    external_keys: Keys = field(default_factory=lambda: Keys("external"))
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    responses: dict[str, Handler] = field(default_factory=dict)
    """Handlers by method name. Other methods return an empty message, or an empty object as an HttpBody."""

    def start(self) -> None:
        full_name = SERVICES[self.service]
        handlers = {method.name: self._handler(method) for method in methods(full_name)}
        self._health = health.HealthServicer()
        self.set_ready()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16), options=OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(full_name, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*SERVICES.values()], self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def set_ready(self, *, ready: bool = True) -> None:
        """Sets the health status. The service handles calls in either case."""
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICES[self.service]):
            self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    def stop(self) -> None:
        self._server.stop(grace=None).wait(5)

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(Call(method.path, request, dict(context.invocation_metadata())))
            if method.name == "GetJwks":
                return method.output(content_type="application/json", data=self.keys.jwks)
            if method.name == "GetExternalJwks":
                return method.output(content_type="application/json", data=self.external_keys.jwks)
            handler = self.responses.get(method.name)
            if handler:
                return handler(request, context)
            return HttpBody(data=b"{}") if method.output is HttpBody else method.output()

        def handle_stream(request: Any, context: grpc.ServicerContext) -> Any:
            yield handle(request, context)

        parse, write = method.input.FromString, method.output.SerializeToString
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(handle_stream, parse, write)
        return grpc.unary_unary_rpc_method_handler(handle, parse, write)
