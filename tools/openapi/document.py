"""Builds the OpenAPI document, with every REST path of the contract."""

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool

from services.common.protobuf.contract import SERVICES, read_method
from tools.openapi.comments import Comments
from tools.openapi.conditions import ETAG_HEADER
from tools.openapi.operations import Operations, tag_name, template_path
from tools.openapi.rules import Schema
from tools.openapi.schemas import Schemas
from tools.openapi.security import BEARER, build_security_schemes
from tools.openapi.status import status_schemas

_INFO = {
    "title": "PulseTrack",
    "version": "1",
    "summary": "Manages patients, billing accounts and statistics.",
    "contact": {"name": "The operator of this system"},
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    "description": (
        "The REST API of PulseTrack's four gRPC services.\n\n"
        "**Authentication.** Call Login and send the `accessToken` of the response in the header"
        " `Authorization: Bearer <accessToken>`. Public methods, such as Login, do not require a token. Machine clients"
        " obtain a token by the client credentials grant of OAuth 2.0, from IssueClientToken.\n\n"
        "**JSON.** Requests and responses use the proto3 JSON format. Field names are in lowerCamelCase; descriptions"
        " use the proto names, such as `page_size` for `pageSize`. Responses contain every field, including those with"
        " the default value of their type (an empty string, 0, false or an empty array). Timestamps and messages that"
        " are not set are omitted. 64-bit integers are strings.\n\n"
        "**Errors.** Error responses are a `google.rpc.Status`. Handle errors by the `reason` in the `ErrorInfo`"
        " detail, not by the `message`."
    ),
}
_RETRY_AFTER = {
    "description": "The number of seconds to wait before retrying the request.",
    "schema": {"type": "integer", "minimum": 0},
}


def build_document(pool: DescriptorPool, comments: Comments) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of the services in a pool. Raises ContractError for unsupported definitions."""
    schemas = Schemas(comments)
    operations = Operations(schemas, comments)
    paths: dict[str, Schema] = {}
    methods = [read_method(method) for name in SERVICES.values() for method in pool.FindServiceByName(name).methods]
    for method in methods:
        for http in method.http:
            paths.setdefault(template_path(http), {})[http.verb.lower()] = operations.build(method, http)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "security": [{BEARER: []}],
        "tags": [{"name": tag_name(name), "description": comments.get(name, "")} for name in SERVICES.values()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.components, **status_schemas()}.items())),
            "responses": operations.responses.components,
            "headers": {"ETag": ETAG_HEADER, "Retry-After": _RETRY_AFTER},
            "securitySchemes": build_security_schemes(methods),
        },
    }
