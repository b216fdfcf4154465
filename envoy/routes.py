"""Routes of the gateway: one for gRPC and one per REST binding of each method, and error responses for the rest."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from envoy.clusters import streams_cluster
from envoy.conditions import CONDITIONS, etag_options
from envoy.cors import cors_policy
from envoy.extension import Config, to_any
from envoy.fhir import HOST, fhir_errors, fhir_options
from envoy.headers import AUTHORIZATION, GRPC_CALL, PATH, VALUES
from envoy.json_bodies import json_body_check
from envoy.matches import header_mismatch, known_match, order_by_generality, path_match, rest_match
from envoy.names import BUFFER, CONDITION, CORS, CUSTOM_METHOD, HEAD, JSON_LINES, JWT, MESSAGE, PUBLIC_BODY, TRANSCODER
from envoy.oauth import FORM_CONTENT, oauth_options
from envoy.queries import query_check
from envoy.rate_limits import CREDENTIALS, rate_limits_of
from envoy.replies import CONDITION_INVALID, HEADERS, PARAMETER_INVALID, PARAMETER_UNKNOWN, REST_VERBS
from envoy.rest_requests import enable_lua
from envoy.site import CONSOLE, CONSOLE_PAGES, CONSOLE_PATHS, PAGE, site_files
from envoy.site.files import list_paths
from envoy.standard import HEALTH, REFLECTION, standard_routes
from envoy.target import Target
from services.common.protobuf.contract import (
    FHIR,
    FHIR_LINES,
    LINES,
    PATH_VARIABLE,
    REMOTE_ADDRESS,
    SERVICES,
    AccessKind,
    Http,
    Method,
    all_methods,
    methods,
)

STREAM_IDLE_TIMEOUT = "300s"
"""Maximum time without data on a stream."""

_SEVERAL_HOSTS = {"name": ":authority", "string_match": {"contains": ","}}
"""Envoy joins the values of several Host headers."""
_GET_OR_HEAD = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_ACCEPTS_HTML = {"name": "accept", "string_match": {"contains": "text/html"}}
"""Browsers accept HTML when they open a page. Clients of the API do not."""
_NOT_EMPTY = {"safe_regex": {"regex": ".+"}}
_JSON_CONTENT = r"(?i)application/json\s*(;.*)?"
_FHIR_CONTENT = r"(?i)application/(fhir\+)?json\s*(;.*)?"
_LINES_CONTENT = rf"(?i)({re.escape(LINES)}|{re.escape(FHIR_LINES)})\s*(;.*)?"
_OAUTH_CONTENT = rf"{_JSON_CONTENT}|{FORM_CONTENT}\s*(;.*)?"


def route_config(target: Target) -> Config:
    """Returns the route configuration. The first matching route applies; unmatched requests return 404."""
    return {
        "name": "gateway",
        "virtual_hosts": [
            {
                "name": "gateway",
                "domains": ["*"],
                "typed_per_filter_config": {CORS: cors_policy(target)},
                "request_headers_to_add": [_remote_address()],
                "response_headers_to_add": [_header(name, value) for name, value in HEADERS.items()],
                **rate_limits_of(),
                "routes": [*_routes(target)],
            }
        ],
    }


def _routes(target: Target) -> Iterator[Config]:
    yield from _invalid_header_routes()
    yield _preflight_route(target)
    yield _direct_response({"path": "/healthz"}, 200)
    yield from _site_routes(target)
    yield from _content_type_routes()
    yield from sorted(_call_routes(target), key=order_by_generality)
    yield from sorted(_head_routes(target), key=order_by_generality)
    yield from _rejected_query_routes()
    yield from _rest_verb_routes(all_methods())
    yield from standard_routes(target)
    yield from _grpc_verb_routes(target)
    unknown_resource = _direct_response({"prefix": FHIR}, 404)
    unknown_resource["typed_per_filter_config"] |= fhir_errors()
    yield unknown_resource
    yield _direct_response({"prefix": "/"}, 404)


def _invalid_header_routes() -> Iterator[Config]:
    """Yields routes that reject header values that a service might fail to parse, for any path."""
    yield _direct_response({"connect_matcher": {}}, 405, allow=REST_VERBS)
    yield _direct_response({"prefix": "/", "headers": [header_mismatch(":path", PATH)]}, PARAMETER_INVALID)
    yield _direct_response({"prefix": "/", "headers": [_SEVERAL_HOSTS]}, 400)
    malformed_host = _direct_response({"prefix": FHIR, "headers": [header_mismatch(":authority", HOST)]}, 400)
    malformed_host["typed_per_filter_config"] |= fhir_errors()
    yield malformed_host
    for name, regex in VALUES.items():
        yield _direct_response({"prefix": "/", "headers": [header_mismatch(name, regex)]}, 400)
    yield _direct_response({"prefix": "/", "headers": [header_mismatch("authorization", AUTHORIZATION)]}, 401)


def _grpc_verb_routes(target: Target) -> Iterator[Config]:
    """Yields a route for each gRPC service that rejects HTTP methods other than POST."""
    for name in (*SERVICES.values(), HEALTH, *(REFLECTION if target.reflection else ())):
        not_post = header_mismatch(":method", "POST")
        yield _direct_response({"prefix": f"/{name}/", "headers": [not_post]}, 405, allow="POST")


def _site_routes(target: Target) -> Iterator[Config]:
    """Yields the routes of static files, one for each, so that no other path reaches the file server."""
    if target.site:
        yield _redirect({"path": PAGE.rstrip("/")}, PAGE)
        yield from _file_routes(list_paths(), "/", target.site)
    if target.console:
        yield _redirect({"path": CONSOLE.rstrip("/")}, CONSOLE)
        yield _redirect({"path": "/", "headers": [_GET_OR_HEAD, _ACCEPTS_HTML]}, CONSOLE)
        yield from _file_routes(CONSOLE_PATHS, CONSOLE, target.console)
        for page in CONSOLE_PAGES:  # browsers keep the fragment, which has the token
            yield _redirect({"path": f"{CONSOLE}{page}"}, f"{CONSOLE}?page={page}")


def _file_routes(paths: Iterable[str], prefix: str, folder: Path) -> Iterator[Config]:
    for path in paths:
        files = _direct_response({"path": path, "headers": [_GET_OR_HEAD]}, 404)
        files["typed_per_filter_config"] |= site_files(prefix, folder)
        yield files
        yield _direct_response({"path": path}, 405, allow="GET, HEAD")


def _redirect(match: Config, path: str) -> Config:
    code = "FOUND" if "headers" in match else "MOVED_PERMANENTLY"  # browsers store a permanent redirect for all headers
    return {"match": match, "redirect": {"path_redirect": path, "response_code": code}, **_without(JWT, TRANSCODER)}


def _preflight_route(target: Target) -> Config:
    """Returns the route of CORS preflights. The CORS filter handles them, but only on a route to a cluster."""
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        *({"name": name, "string_match": _NOT_EMPTY} for name in ("origin", "access-control-request-method")),
    ]
    return {"match": {"prefix": "/", "headers": headers}, "route": _route_to(next(iter(SERVICES)), target)}


def _call_routes(target: Target) -> Iterator[Config]:
    for service, full_name in SERVICES.items():
        for method in methods(full_name):
            yield from _method_routes(service, method, target)


def _method_routes(service: str, method: Method, target: Target) -> Iterator[Config]:
    yield _call_route(service, method, {"path": method.path, "headers": GRPC_CALL}, target)
    for http in method.http:
        check = json_body_check(method, http)
        lua = [*([CUSTOM_METHOD] if ":" in http.path else []), *([JSON_LINES] if method.returns_lines else [])]
        yield from _rest_routes(
            service, method, http, target, check | oauth_options(method) | fhir_options(method, http) | enable_lua(*lua)
        )


def _rest_routes(service: str, method: Method, http: Http, target: Target, filters: Config) -> Iterator[Config]:
    """Yields the route of a binding. If requests can be conditional, routes for those precede it."""
    match, filters = known_match(method, http), filters | etag_options(method)
    if condition := method.condition(http):
        malformed = {**match, "headers": [*match["headers"], header_mismatch(condition, CONDITIONS)]}
        rejection = _rejection(method, malformed, CONDITION_INVALID)
        rejection["typed_per_filter_config"] |= fhir_options(method, http)
        yield rejection
        headers = [*match["headers"], {"name": condition, "present_match": True}]
        yield _call_route(service, method, {**match, "headers": headers}, target, filters | enable_lua(CONDITION))
    yield _call_route(service, method, match, target, filters)


def _call_route(service: str, method: Method, match: Config, target: Target, filters: Config | None = None) -> Config:
    """Returns the route of the matching requests to a method, with the options of filters beside the usual ones."""
    usual = _without(JWT if method.access.kind is AccessKind.PUBLIC else PUBLIC_BODY)["typed_per_filter_config"]
    return {
        "name": method.name,
        "match": match,
        "route": {
            **_route_to(service, target, streams=method.streams),
            **(rate_limits_of(method.name) if method.name in CREDENTIALS else {}),
        },
        "typed_per_filter_config": usual | (filters or {}),
    }


def _head_routes(target: Target) -> Iterator[Config]:
    """Yields a route for each GET path that accepts HEAD. A stream, which would have no end, does not."""
    for service, full_name in SERVICES.items():
        for method in methods(full_name):
            for http in method.http:
                if "HEAD" in _allowed_verbs(method, http):
                    options = enable_lua(HEAD) | fhir_options(method, http)
                    yield from _rest_routes(service, method, replace(http, verb="HEAD"), target, options)


def _allowed_verbs(method: Method, http: Http) -> Sequence[str]:
    return ("GET", "HEAD") if http.verb == "GET" and not method.streams else (http.verb,)


def _content_type_routes() -> Iterator[Config]:
    """Yields routes that reject gRPC and compressed bodies on a REST path, and bodies that are not JSON or a form."""
    bindings = [(method, http) for method in all_methods() for http in method.http]
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    compressed = header_mismatch("content-encoding", "(?i)identity")
    for first in sorted({http.path.split("/")[1] for _, http in bindings}):
        for header in (grpc, compressed):
            yield _direct_response({"prefix": f"/{first}/", "headers": [header]}, 415)
    for method, http in bindings:
        if http.body:
            match, known = rest_match(http), _content_types(method, http)
            unknown = header_mismatch("content-type", known)
            rejection = _direct_response({**match, "headers": [*match["headers"], unknown]}, 415)
            rejection["typed_per_filter_config"] |= oauth_options(method) | fhir_options(method, http)
            yield rejection


def _content_types(method: Method, http: Http) -> str:
    if method.is_oauth_endpoint:
        return _OAUTH_CONTENT
    if method.takes_raw_body(http):
        return _FHIR_CONTENT if method.is_fhir else _LINES_CONTENT
    return _JSON_CONTENT


def _rejected_query_routes() -> Iterator[Config]:
    """Yields a route for each binding that rejects all other queries. It follows the bindings."""
    for method in all_methods():
        for http in method.http:
            for verb in _allowed_verbs(method, http):
                route = _rejection(method, rest_match(replace(http, verb=verb)), PARAMETER_UNKNOWN)
                route["typed_per_filter_config"] |= query_check(method) | fhir_options(method, http)
                yield route


def _rest_verb_routes(methods: Iterable[Method]) -> Iterator[Config]:
    """Yields a route for each REST path that rejects HTTP methods without a binding. It follows the bindings."""
    verbs: defaultdict[str, list[str]] = defaultdict(list)
    for method in methods:
        for http in method.http:
            verbs[PATH_VARIABLE.sub("{}", http.path)].extend(_allowed_verbs(method, http))
    for path, allowed in verbs.items():
        route = _direct_response(path_match(path), 405, allow=", ".join(allowed))
        if path.startswith(FHIR):
            route["typed_per_filter_config"] |= fhir_errors()
        yield route


def _route_to(service: str, target: Target, *, streams: bool = False) -> Config:
    if streams:
        return {"cluster": streams_cluster(service), "timeout": "0s", "idle_timeout": STREAM_IDLE_TIMEOUT}
    timeout = f"{target.call_seconds}s"
    # max_stream_duration overrides the route's `timeout`.
    return {
        "cluster": service,
        "max_stream_duration": {"max_stream_duration": timeout, "grpc_timeout_header_max": timeout},
    }


def _rejection(method: Method, match: Config, status: int) -> Config:
    """Returns a route with a direct response to a call of a method. It requires a token if the method does."""
    route = _direct_response(match, status)
    if method.access.kind is not AccessKind.PUBLIC:
        del route["typed_per_filter_config"][JWT]
    return route


def _direct_response(match: Config, status: int, **headers: str) -> Config:
    """Returns a route with a direct response, without authentication. replies.py defines the response body."""
    return {
        "match": match,
        "direct_response": {"status": status},
        "response_headers_to_add": [_header(name, value) for name, value in headers.items()],
        **_without(JWT, PUBLIC_BODY, BUFFER, MESSAGE, TRANSCODER),
    }


def _without(*filters: str) -> Config:
    """Returns the options of a route that disable filters. A route that does not disable JWT requires a user token."""
    return {
        "typed_per_filter_config": {
            name: to_any("envoy.config.route.v3.FilterConfig", disabled=True) for name in filters
        }
    }


def _remote_address() -> Config:
    """Returns the header with the client address. It replaces any value that the client sends."""
    header = {"key": REMOTE_ADDRESS, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _header(name: str, value: str) -> Config:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}
