"""Describes conditional requests: the ETag header of responses, and the headers that refer to it."""

from services.common.protobuf.contract import IF_MATCH, IF_NONE_MATCH, Http, Method
from tools.openapi.rules import Schema

_TAG = r'(W/)?"[!#-~]*"'
_TAGS: Schema = {"type": "string", "pattern": rf"^(\*|{_TAG}(, ?{_TAG})*)$", "maxLength": 1000}
_DESCRIPTIONS = {
    IF_MATCH: "The request fails with status 412 unless one of these etags is current. `*` accepts any etag. Weak etags"
    " match none.",
    IF_NONE_MATCH: "The response has status 304 and no body if one of these etags is current. `*` matches any etag.",
}
_FHIR_DESCRIPTION = "The request fails with status 412 unless one of these etags is current."
_NAMES = {IF_MATCH: "If-Match", IF_NONE_MATCH: "If-None-Match"}

ETAG_HEADER: Schema = {
    "description": "The `etag` of the resource, in quotes.",
    "required": True,
    "schema": {"type": "string", "pattern": '^"[!#-~]*"$'},
}
"""The component with the ETag header."""


def condition_parameters(method: Method, http: Http) -> list[Schema]:
    """Returns the parameter for the header that makes a call conditional, if there is one."""
    condition = method.condition(http)
    if condition is None:
        return []
    return [
        {
            "name": _NAMES[condition],
            "in": "header",
            "description": _FHIR_DESCRIPTION if method.is_fhir else _DESCRIPTIONS[condition],
            "schema": {**_TAGS},
            "example": '"3"',
        }
    ]


def etag_headers(method: Method) -> Schema:
    """Returns the ETag header as a member of a response, if the method returns an etag."""
    return {"headers": {"ETag": {"$ref": "#/components/headers/ETag"}}} if method.returns_etag else {}


def not_modified(method: Method, http: Http) -> Schema:
    """Returns the 304 response of a call that If-None-Match makes conditional, if it can be."""
    if method.condition(http) != IF_NONE_MATCH:
        return {}
    return {"304": {"description": "One of the etags in If-None-Match is current.", **etag_headers(method)}}
