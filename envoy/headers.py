"""Which request headers the gateway accepts, and which of them it forwards to the services.

Services parse headers before any code of ours runs, and one that grpc-core cannot parse can break calls that share the
connection. Only known names are forwarded, and a value that a service might not parse is refused before.
"""

import re
from collections.abc import Iterable
from typing import Any

from envoy.extension import Config, extension
from envoy.names import HEADER_SIZE, MESSAGE
from services.common.protobuf.contract import MAX_HEADER_BYTES, REMOTE_ADDRESS

MAX_HEADERS = 100
"""The most headers of a request, pseudo-headers included."""
TOO_LARGE = "headers_too_large"
"""The policy that refuses headers over these limits, as Envoy's response details name it."""
NO_MESSAGE = "message_missing"
"""The policy that refuses a native call without a message, as Envoy's response details name it."""

_GRPC_CONTENT = r"application/grpc(-web(-text)?)?(\+proto)?( *;[ -~]*)?"
NATIVE_CALL = [
    {"name": ":method", "string_match": {"exact": "POST"}},
    {"name": "content-type", "string_match": {"safe_regex": {"regex": _GRPC_CONTENT}}},
]
"""What a route matches of a call by native gRPC or gRPC-Web, beside its path."""

VALUES = {
    "grpc-timeout": "[0-9]{1,8}[HMSmun]",
    "grpc-encoding": "identity|gzip|deflate",
    "grpc-accept-encoding": "[ -~]*",
    "idempotency-key": "[ -~]*",
    "user-agent": "[ -~]*",
}
"""What a header that is forwarded may hold. Other values are refused."""
PATH = "[!-~]+"
"""What a path may hold; the path of a REST call is forwarded in a header."""
AUTHORIZATION = "[ -~]*"
"""What `authorization` may hold."""

_SET_HERE = (
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
"""Headers that the gateway writes or has checked by the time a request leaves it."""

REGEX_SIZE = 2000
"""The longest regular expression that Envoy is to take, in RE2's instructions: that of the allow-list is long."""


def allow_list() -> Config:
    """Returns the filter that removes every other header, and all trailers, from a request."""
    forwarded = {*_SET_HERE, *VALUES, "authorization"}
    te = {"header": {"key": "te", "value": "trailers"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return extension(
        "envoy.filters.http.header_mutation",
        "filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [_remove(none_of(forwarded)), {"append": te}],
            "request_trailers_mutations": [_remove(".*")],
        },
    )


def size_limit() -> Config:
    """Returns the filter that refuses headers that are too long or too many, on HTTP/1.1 and HTTP/2 alike."""
    too_many = _call("_>_", _call("size", _request("headers")), _number(MAX_HEADERS))
    too_long = _call("_>_", _request("total_size"), _number(MAX_HEADER_BYTES))  # no body has been read yet
    return _refusal(HEADER_SIZE, TOO_LARGE, {"any": True}, condition=_call("_||_", too_many, too_long))


def message_present() -> Config:
    """Returns the filter that refuses a native call without a message, which a service would wait for.

    It stands after the buffer filter, which gives a request that has a body its length.
    """
    native = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    shorter_than_a_frame = {
        "name": "content-length",
        "string_match": {"safe_regex": {"regex": "[0-4]?"}},
        "treat_missing_header_as_empty": True,
    }
    rules = {"rules": [{"header": native}, {"header": shorter_than_a_frame}]}
    return _refusal(MESSAGE, NO_MESSAGE, {"and_rules": rules})


def _refusal(name: str, policy: str, permission: Config, **fields: object) -> Config:
    """Returns a filter that refuses what the permission and the condition describe."""
    described = {"permissions": [permission], "principals": [{"any": True}], **fields}
    rules = {"action": "DENY", "policies": {policy: described}}
    return extension(name, "filters.http.rbac.v3.RBAC", rules=rules)


def _call(function: str, *args: Config) -> Config:
    """Returns a call in CEL's syntax tree, the only form in which a policy takes a condition."""
    return {"call_expr": {"function": function, "args": [*args]}}


def _request(field: str) -> Config:
    return {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": field}}


def _number(value: int) -> Config:
    return {"const_expr": {"int64_value": value}}


def none_of(names: Iterable[str]) -> str:
    """Returns a regular expression, in RE2's syntax, that matches every text but these names."""
    tree: dict[str, Any] = {}
    for name in names:
        node = tree
        for letter in name:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _outside(tree)


def _outside(node: dict[str, Any]) -> str:
    """Returns what matches every rest of a text that does not lead from this node of a prefix tree to a name."""
    letters = sorted(letter for letter in node if letter)
    ends = [] if "" in node else [""]
    if not letters:
        return "(?:.+)"
    strays = f"[^{''.join(map(re.escape, letters))}].*"
    return f"(?:{'|'.join([*ends, strays, *(re.escape(x) + _outside(node[x]) for x in letters)])})"


def _remove(names: str) -> Config:
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": names}}}}
