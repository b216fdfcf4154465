"""Matches of routes: the verb, path, query and headers of a request."""

import re

from envoy.extension import Config
from envoy.fhir import takes_any_query
from envoy.queries import query_regex, repetition_regex
from services.common.protobuf.contract import PATH_VARIABLE, Http, Method

_COLON = "(?::|%3[Aa])"
_SEGMENT = "[^/:$][^/:]*"
"""The value of a path variable: one segment. A colon starts a custom method, a dollar sign an operation of FHIR."""


def order_by_generality(route: Config) -> int:
    """Returns the order of a route. Exact paths and custom methods precede the templates that also match them."""
    template = route["match"].get("safe_regex", {}).get("regex")
    return 0 if template is None else 1 if _COLON in template else 2


def header_mismatch(name: str, regex: str) -> Config:
    """Returns a matcher for a header that is present and does not match a regular expression."""
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}, "invert_match": True}


def _path_regex(regex: str) -> Config:
    return {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}}


def path_match(template: str) -> Config:
    """Returns the route match of a google.api.http path template."""
    if "{" not in template and ":" not in template:
        return {"path": template}
    parts = (re.escape(part).replace(":", _COLON) for part in PATH_VARIABLE.split(template))
    return {"safe_regex": {"regex": _SEGMENT.join(parts)}}


def rest_match(http: Http) -> Config:
    """Returns the route match of a binding, with any query."""
    return {**path_match(http.path), "headers": [{"name": ":method", "string_match": {"exact": http.verb}}]}


def known_match(method: Method, http: Http) -> Config:
    """Returns the route match of a binding whose query contains each of its parameters once, with plausible values."""
    match = rest_match(http)
    if takes_any_query(method):
        return match
    known, repeated = (_path_regex(f"[^?]*{regex(method, http)}") for regex in (query_regex, repetition_regex))
    return {**match, "headers": [*match["headers"], known, repeated | {"invert_match": True}]}
