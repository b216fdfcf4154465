"""Which calls the gateway lets in: a route for each method at each of its doors, and an answer for all the rest."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from envoy.clusters import streams_cluster
from envoy.extension import Config, typed
from envoy.headers import AUTHORIZATION, NATIVE_CALL, PATH, VALUES
from envoy.limits import CREDENTIALS, rate_limits_of
from envoy.names import BUFFER, CORS, JWT, MESSAGE, PUBLIC_BODY, TRANSCODER
from envoy.replies import HEADERS, REST_VERBS
from envoy.site import DESCRIPTION, PAGE, site_files
from envoy.standard import HEALTH, REFLECTION, standard_routes
from envoy.target import Target
from services.common.protobuf.contract import (
    PATH_VARIABLE,
    REMOTE_ADDRESS,
    SERVICES,
    Door,
    Http,
    Method,
    all_methods,
    methods,
)

STREAM_IDLE_TIMEOUT = "300s"
"""How long a stream may stay silent."""

_READS = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_NOT_EMPTY = {"safe_regex": {"regex": ".+"}}
_JSON_CONTENT = r"(?i)application/json\s*(;.*)?"

_ALLOWED_HEADERS = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "idempotency-key",
    "x-grpc-web",
    "x-user-agent",
)
_EXPOSED_HEADERS = (
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)


def route_config(target: Target) -> Config:
    """Returns the routes of the gateway. The first that matches decides; what none names is not found."""
    return {
        "name": "gateway",
        "virtual_hosts": [
            {
                "name": "gateway",
                "domains": ["*"],
                "typed_per_filter_config": {CORS: _cors(target)},
                "request_headers_to_add": [_remote_address()],
                "response_headers_to_add": [_header(name, value) for name, value in HEADERS.items()],
                **rate_limits_of(),
                "routes": [*_routes(target)],
            }
        ],
    }


def _routes(target: Target) -> Iterator[Config]:
    yield from _bad_values()
    yield _preflight(target)
    yield _answer({"path": "/healthz"}, 200)
    yield from _site(target)
    # Sorted, so that an exact path is tried before a template that also fits it.
    yield from _wrong_content()
    yield from sorted(_calls(target), key=lambda route: "safe_regex" in route["match"])
    yield from _wrong_verbs(all_methods())
    yield from standard_routes(target)
    yield from _wrong_native(target)
    yield _answer({"prefix": "/"}, 404)


def _bad_values() -> Iterator[Config]:
    """Yields a route for each header that a service might not be able to parse, whatever the path."""
    yield _answer({"connect_matcher": {}}, 405, allow=REST_VERBS)
    for name, regex in ((":path", PATH), *VALUES.items()):
        yield _answer({"prefix": "/", "headers": [_other(name, regex)]}, 400)
    yield _answer({"prefix": "/", "headers": [_other("authorization", AUTHORIZATION)]}, 401)


def _wrong_native(target: Target) -> Iterator[Config]:
    """Yields a route for each native service, which knows no HTTP method but POST."""
    for name in (*SERVICES.values(), HEALTH, *(REFLECTION if target.reflection else ())):
        yield _answer({"prefix": f"/{name}/", "headers": [_other(":method", "POST")]}, 405, allow="POST")


def _other(name: str, regex: str) -> Config:
    """Returns the match of a header that is there and has another value."""
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}, "invert_match": True}


def _site(target: Target) -> Iterator[Config]:
    """Yields the routes of the files. What the file server does not have falls through to the answer 404."""
    if target.site:
        yield {"match": {"path": PAGE.rstrip("/")}, "redirect": {"path_redirect": PAGE}, **_open(JWT, TRANSCODER)}
        for match in ({"path": DESCRIPTION}, {"prefix": PAGE}):
            read = _answer({**match, "headers": [_READS]}, 404)
            read["typed_per_filter_config"] |= site_files(target.site)
            yield read
            yield _answer(match, 405, allow="GET, HEAD")


def _preflight(target: Target) -> Config:
    """Returns the route of CORS preflights, which the CORS filter answers: it ignores the routes of _answer."""
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        *({"name": name, "string_match": _NOT_EMPTY} for name in ("origin", "access-control-request-method")),
    ]
    return {"match": {"prefix": "/", "headers": headers}, "route": _to(next(iter(SERVICES)), target)}


def _calls(target: Target) -> Iterator[Config]:
    for service, full_name in SERVICES.items():
        for method in methods(full_name):
            yield from _method_routes(service, method, target)


def _method_routes(service: str, method: Method, target: Target) -> Iterator[Config]:
    for match in ({"path": method.path, "headers": NATIVE_CALL}, *map(_rest_match, method.http)):
        yield {
            "name": method.name,
            "match": match,
            "route": {
                **_to(service, target, streams=method.streams),
                **(rate_limits_of(method.name) if method.name in CREDENTIALS else {}),
            },
            **_open(JWT if method.access.door is Door.PUBLIC else PUBLIC_BODY),
        }


def _wrong_content() -> Iterator[Config]:
    """Yields routes for gRPC at a REST path, and for a body that says that it is no JSON at a path that takes one."""
    https = [http for method in all_methods() for http in method.http]
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    for first in sorted({http.path.split("/")[1] for http in https}):
        yield _answer({"prefix": f"/{first}/", "headers": [grpc]}, 415)
    not_json = _other("content-type", _JSON_CONTENT)
    for match in (_rest_match(http) for http in https if http.body):
        yield _answer({**match, "headers": [*match["headers"], not_json]}, 415)


def _wrong_verbs(methods: Iterable[Method]) -> Iterator[Config]:
    """Yields a route for each REST path whose verb no route before it has matched."""
    verbs = defaultdict(list)
    for method in methods:
        for http in method.http:
            verbs[PATH_VARIABLE.sub("{}", http.path)].append(http.verb)
    for path, allowed in verbs.items():
        yield _answer(_path_match(path), 405, allow=", ".join(allowed))


def _to(service: str, target: Target, *, streams: bool = False) -> Config:
    if streams:
        return {"cluster": streams_cluster(service), "timeout": "0s", "idle_timeout": STREAM_IDLE_TIMEOUT}
    longest = f"{target.call_seconds}s"
    # A route that has this duration does not heed `timeout`.
    return {
        "cluster": service,
        "max_stream_duration": {"max_stream_duration": longest, "grpc_timeout_header_max": longest},
    }


def _answer(match: Config, status: int, **headers: str) -> Config:
    """Returns a route that the gateway answers itself, to anyone and at once; replies.py writes the body."""
    return {
        "match": match,
        "direct_response": {"status": status},
        "response_headers_to_add": [_header(name, value) for name, value in headers.items()],
        **_open(JWT, BUFFER, MESSAGE, TRANSCODER),
    }


def _open(*filters: str) -> Config:
    """Returns what takes a route out of filters; a route that does not say so needs a person's token."""
    return {
        "typed_per_filter_config": {
            name: typed("envoy.config.route.v3.FilterConfig", disabled=True) for name in filters
        }
    }


def _rest_match(http: Http) -> Config:
    return {**_path_match(http.path), "headers": [{"name": ":method", "string_match": {"exact": http.verb}}]}


def _path_match(template: str) -> Config:
    """Returns the match of a path template of google.api.http."""
    if "{" not in template:
        return {"path": template}
    # A variable is one segment, without a colon, which begins a custom verb.
    return {"safe_regex": {"regex": "[^/:]+".join(map(re.escape, PATH_VARIABLE.split(template)))}}


def _remote_address() -> Config:
    """Returns the header that says who calls: the address of the access log, not what the caller has put there."""
    header = {"key": REMOTE_ADDRESS, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _header(name: str, value: str) -> Config:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}


def _cors(target: Target) -> Config:
    return typed(
        "filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in target.cors_origins],
        allow_methods=REST_VERBS,
        allow_headers=", ".join(_ALLOWED_HEADERS),
        expose_headers=", ".join(_EXPOSED_HEADERS),
        max_age="600",
        forward_not_matching_preflights=False,
    )
