"""Services without behaviour behind a gateway under test: each call is written down, and answered as a test says."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.protobuf.contract import SERVICES, Method, methods
from services.common.rpc.server import OPTIONS

Answer = Callable[[Any, grpc.ServicerContext], Message]


class Keys:
    """A signing key, its JWKS, and tokens as auth issues them."""

    def __init__(self, kid: str = "k1") -> None:
        self._kid = kid
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.jwks = json.dumps({"keys": [{**public, "kid": kid, "alg": "ES256", "use": "sig"}]}).encode()

    def token(self, **claims: object) -> str:
        now = int(time.time())
        usual = {"iss": "pulsetrack-auth", "aud": "pulsetrack", "sub": "ana", "role": "USER", "exp": now + 600}
        return jwt.encode(usual | claims, self._key, algorithm="ES256", headers={"kid": self._kid, "typ": "at+jwt"})


@dataclass
class Call:
    """A call that arrived at a service."""

    path: str
    request: Any
    metadata: Mapping[str, str | bytes]


@dataclass
class Stub:
    """One service on a port of its own, which may die and come back."""

    service: str
    keys: Keys
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    """By method name; an empty message where a test says nothing."""

    def start(self) -> None:
        full_name = SERVICES[self.service]
        handlers = {method.name: self._handler(method) for method in methods(full_name)}
        self._health = health.HealthServicer()
        self.say_ready()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16), options=OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(full_name, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*SERVICES.values()], self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def say_ready(self, *, ready: bool = True) -> None:
        """Has its health say whether it is ready. It takes calls in either case."""
        says = health_pb2.HealthCheckResponse
        for name in ("", SERVICES[self.service]):
            self._health.set(name, says.SERVING if ready else says.NOT_SERVING)

    def stop(self) -> None:
        self._server.stop(grace=None).wait(5)

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(Call(method.path, request, dict(context.invocation_metadata())))
            if method.name == "GetJwks":
                return method.output(content_type="application/json", data=self.keys.jwks)
            answered = self.answers.get(method.name)
            return answered(request, context) if answered else method.output()

        def answers(request: Any, context: grpc.ServicerContext) -> Any:
            yield answer(request, context)

        parse, write = method.input.FromString, method.output.SerializeToString
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(answers, parse, write)
        return grpc.unary_unary_rpc_method_handler(answer, parse, write)
