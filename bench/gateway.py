"""A plain Envoy in front of the reference service: it verifies tokens, routes, and writes an access log."""

import json
from pathlib import Path

import yaml

from envoy.extension import Config, extension, to_any
from envoy.names import JWT
from envoy.program import binary
from envoy.target import Address, socket_address
from tools.local.process import Command

_CLUSTER = "api"
_LOG_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "upstream": "%UPSTREAM_HOST%",
    "remote_address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}


def build_gateway(listen: Address, api: Address, *, issuer: str, jwks: object, file: Path) -> Command:
    """Writes the configuration to a file and returns Envoy's command, with the flags of PulseTrack's gateway."""
    bootstrap = {
        "static_resources": {
            "listeners": [{"name": "http", "address": socket_address(listen), "filter_chains": [_chain(issuer, jwks)]}],
            "clusters": [_cluster(api)],
        }
    }
    file.write_text(yaml.safe_dump(bootstrap, sort_keys=False), encoding="utf-8")
    flags = ("--concurrency", "1", "--file-flush-interval-msec", "1000", "--log-level", "warn", "--disable-hot-restart")
    return Command(argv=(str(binary()), "-c", str(file), *flags))


def _chain(issuer: str, jwks: object) -> Config:
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="http",
        use_remote_address=True,
        access_log=[
            extension(
                "envoy.access_loggers.file",
                "access_loggers.file.v3.FileAccessLog",
                path="/dev/stdout",
                log_format={"json_format": _LOG_FIELDS},
            )
        ],
        route_config={
            "virtual_hosts": [
                {
                    "name": "api",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": _CLUSTER, "timeout": "15s"}}],
                }
            ]
        },
        http_filters=[
            _jwt_filter(issuer, jwks),
            extension("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ],
    )
    return {"filters": [manager]}


def _jwt_filter(issuer: str, jwks: object) -> Config:
    provider = {
        "issuer": issuer,
        "audiences": [issuer],
        "forward": True,  # the service verifies the token again, as PulseTrack's services do
        "local_jwks": {"inline_string": json.dumps(jwks)},
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return extension(
        JWT,
        "filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"users": provider},
        rules=[
            {"match": {"path": "/v1/auth/login"}},
            {"match": {"path": "/readyz"}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "users"}},
        ],
    )


def _cluster(api: Address) -> Config:
    options = to_any(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
    )
    return {
        "name": _CLUSTER,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": _CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(api)}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
