"""The whole description: every REST path of the contract."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from services.common.contract import SERVICES, method_of, pooled
from tools.openapi.comments import comments
from tools.openapi.errors import STATUS
from tools.openapi.operations import Operations, tag, url
from tools.openapi.rules import Schema
from tools.openapi.schemas import Schemas

_INFO = {
    "title": "PulseTrack",
    "version": "1",
    "summary": "Patients, their accounts and their statistics.",
    "description": (
        "The REST door of four gRPC services. A call takes an access token, but for those that say otherwise: sign up,"
        " log in, and send `authorization: Bearer` with the `accessToken`.\n\n"
        "JSON is that of proto3: a field with the zero value of its type (an empty text, 0, false) is left out of an"
        " answer, and a 64-bit number is a text. Errors are a google.rpc.Status, with a reason for programs."
    ),
}
_RETRY_AFTER = {
    "description": "After how many seconds the call may be tried again.",
    "schema": {"type": "integer", "minimum": 0},
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `accessToken` that Login or RefreshToken gives.",
}


def document(files: Iterable[FileDescriptorProto]) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of a contract's files. Raises ContractError for what it cannot say."""
    files = [*files]
    said, pool = comments(files), pooled(files)
    schemas = Schemas(said)
    operations = Operations(schemas, said)
    paths: dict[str, Schema] = {}
    for service in SERVICES.values():
        for method in map(method_of, pool.FindServiceByName(service).methods):
            for http in method.http:
                paths.setdefault(url(http), {})[http.verb.lower()] = operations.operation(method, http)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag(name), "description": said.get(name, "")} for name in SERVICES.values()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.components, "Status": STATUS}.items())),
            "responses": operations.responses.components,
            "headers": {"Retry-After": _RETRY_AFTER},
            "securitySchemes": {"bearer": _BEARER},
        },
    }
