"""The ways in which a client authenticates, and the members of OAuth errors."""

from collections.abc import Sequence
from typing import Any

from envoy.oauth import ERRORS, INVALID_REQUEST
from services.common.protobuf.contract import Method
from tools.openapi.rules import Schema

BEARER, OAUTH = "bearer", "oauth2"
"""The names of the security schemes of users and of machine clients."""


def build_security_schemes(all_methods: Sequence[Method]) -> dict[str, Schema]:
    """Returns the security schemes, with the scopes that the methods name."""
    methods: dict[str, list[str]] = {}
    for method in all_methods:
        if method.access.scope:
            methods.setdefault(method.access.scope, []).append(method.name)
    [endpoint] = [http.path for method in all_methods if method.is_oauth_endpoint for http in method.http]
    scopes = {scope: f"Permits {', '.join(names)}." for scope, names in sorted(methods.items())}
    return {
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `accessToken` from a Login or RefreshToken response.",
        },
        OAUTH: {
            "type": "oauth2",
            "description": "The `access_token` from an IssueClientToken response, for machine clients.",
            "flows": {"clientCredentials": {"tokenUrl": endpoint, "scopes": scopes}},
        },
    }


def add_oauth_members(method: Method, response: Schema) -> Schema:
    """Returns an error response of a method with the members of RFC 6749, if the method is an OAuth endpoint."""
    if not method.is_oauth_endpoint:
        return response
    [(content_type, content)] = response["content"].items()
    members: Schema = {
        "type": "object",
        "properties": {
            "error": {
                "type": "string",
                "enum": sorted({*ERRORS.values(), INVALID_REQUEST}),
                "description": "The error (RFC 6749, section 5.2).",
            },
            "error_description": {"type": "string", "description": "The message of the error."},
        },
    }
    examples = {reason: {"value": _add_values(reason, each["value"])} for reason, each in content["examples"].items()}
    schema = {"allOf": [content["schema"], members]}
    return response | {"content": {content_type: {"schema": schema, "examples": examples}}}


def _add_values(reason: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"error": ERRORS.get(reason, INVALID_REQUEST), "error_description": example["message"], **example}
