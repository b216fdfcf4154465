"""Request headers that the gateway accepts, and those that it forwards to the services.

grpc-core parses headers before any service code runs. A header that it cannot parse can break other calls on the same
connection. The gateway therefore forwards only known headers, and rejects values that a service might fail to parse.
"""

import re
from collections.abc import Iterable
from typing import Any

from envoy.extension import Config, extension
from envoy.names import HEADER_SIZE, MESSAGE
from services.common.protobuf.contract import IF_MATCH, MAX_HEADER_BYTES, REMOTE_ADDRESS

MAX_HEADERS = 100
"""Maximum number of request headers, including pseudo-headers."""
TOO_LARGE = "headers_too_large"
"""RBAC policy that rejects headers over the limits. Envoy includes the name in the response code details."""
NO_MESSAGE = "message_missing"
"""RBAC policy that rejects a gRPC call without a message. Envoy includes the name in the response code details."""

_GRPC_CONTENT = r"application/grpc(-web(-text)?)?(\+proto)?( *;[ -~]*)?"
GRPC_CALL = [
    {"name": ":method", "string_match": {"exact": "POST"}},
    {"name": "content-type", "string_match": {"safe_regex": {"regex": _GRPC_CONTENT}}},
]
"""Header matchers of a gRPC or gRPC-Web call, for use in a route."""

VALUES = {
    "grpc-timeout": "[0-9]{1,8}[HMSmun]",
    "grpc-encoding": "identity|gzip|deflate",
    "grpc-accept-encoding": "[ -~]*",
    "idempotency-key": "[ -~]*",
    IF_MATCH: "[ -~]*",
    "user-agent": "[ -~]*",
}
"""Allowed values of forwarded headers, as regular expressions. Other values are rejected."""
_TAIL = "%[89ABab][0-9A-Fa-f]"
PATH = (
    r"(?:[!-$&-~]|%[0-7][0-9A-Fa-f]"
    rf"|%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){_TAIL}"
    rf"|%(?:[Ee]0%[ABab][0-9A-Fa-f]|[Ee][1-9A-CEFa-cef]{_TAIL}|[Ee][Dd]%[89][0-9A-Fa-f]){_TAIL}"
    rf"|%(?:[Ff]0%[9ABab][0-9A-Fa-f]|[Ff][1-3]{_TAIL}|[Ff]4%8[0-9A-Fa-f]){_TAIL}{_TAIL})+"
)
"""Allowed values of the path and query: printable ASCII and percent-encoded UTF-8 (RFC 3629).

A proto string contains UTF-8 only. The path of a REST call is also forwarded in a header.
"""
AUTHORIZATION = "[ -~]*"
"""Allowed values of `authorization`."""

_SET_BY_GATEWAY = (
    ":authority",
    ":method",
    ":path",
    ":scheme",
    "content-length",
    "content-type",
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-request-id",
    REMOTE_ADDRESS,
)
"""Headers that the gateway sets or validates before it forwards a request."""

REGEX_SIZE = 2000
"""Maximum size of a regular expression in RE2 instructions. The expression of the allow-list exceeds the default."""


def allow_list() -> Config:
    """Returns the filter that removes all other headers, and all trailers, from a request."""
    forwarded = {*_SET_BY_GATEWAY, *VALUES, "authorization"}
    te = {"header": {"key": "te", "value": "trailers"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return extension(
        "envoy.filters.http.header_mutation",
        "filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [_remove(regex_excluding(forwarded)), {"append": te}],
            "request_trailers_mutations": [_remove(".*")],
        },
    )


def size_limit() -> Config:
    """Returns the filter that rejects headers over the size or count limit, in HTTP/1.1 and HTTP/2.

    It costs Envoy about 5% CPU on a GET, whatever the order and number of comparisons: a little under half is the RBAC
    filter, and the rest is the first access to an attribute of the request.
    """
    too_many = _call("_>_", _call("size", _request("headers")), _number(MAX_HEADERS))
    too_long = _call("_>_", _request("total_size"), _number(MAX_HEADER_BYTES))  # no body has been read yet
    return _deny(HEADER_SIZE, TOO_LARGE, {"any": True}, condition=_call("_||_", too_many, too_long))


def message_present() -> Config:
    """Returns the filter that rejects a gRPC call without a message. Otherwise the service would wait for one.

    It must follow the buffer filter, which sets content-length on requests with a body.
    """
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    shorter_than_a_frame = {
        "name": "content-length",
        "string_match": {"safe_regex": {"regex": "[0-4]?"}},
        "treat_missing_header_as_empty": True,
    }
    rules = {"rules": [{"header": grpc}, {"header": shorter_than_a_frame}]}
    return _deny(MESSAGE, NO_MESSAGE, {"and_rules": rules})


def _deny(name: str, policy: str, permission: Config, **fields: object) -> Config:
    """Returns an RBAC filter that rejects requests that match the permission and the condition."""
    match = {"permissions": [permission], "principals": [{"any": True}], **fields}
    rules = {"action": "DENY", "policies": {policy: match}}
    return extension(name, "filters.http.rbac.v3.RBAC", rules=rules)


def _call(function: str, *args: Config) -> Config:
    """Returns a function call in the CEL syntax tree. An RBAC policy accepts conditions only in this form."""
    return {"call_expr": {"function": function, "args": [*args]}}


def _request(field: str) -> Config:
    return {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": field}}


def _number(value: int) -> Config:
    return {"const_expr": {"int64_value": value}}


def regex_excluding(names: Iterable[str]) -> str:
    """Returns an RE2 regular expression that matches every string except these names."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for letter in name:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _regex_outside(tree)


def _regex_outside(node: dict[str, Any]) -> str:
    """Returns a regular expression of the suffixes that complete no name from this node of the prefix tree."""
    letters = sorted(letter for letter in node if letter)
    end = [] if "" in node else [""]
    if not letters:
        return "(?:.+)"
    others = f"[^{''.join(map(re.escape, letters))}].*"
    return f"(?:{'|'.join([*end, others, *(re.escape(x) + _regex_outside(node[x]) for x in letters)])})"


def _remove(names: str) -> Config:
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": names}}}}
