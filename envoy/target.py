"""The target of a gateway configuration: addresses, limits and options."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envoy.extension import Config
from envoy.upstream_tls import UpstreamTls

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Address:
    """A host (an IP address, or a DNS name if the target uses DNS) and a TCP port."""

    host: str
    port: int


def socket_address(address: Address) -> Config:
    """Returns the Envoy message of an address."""
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def parse_origins(text: str) -> tuple[str, ...]:
    """Returns the web origins in a comma-separated list. Raises ValueError if an entry is not an origin."""
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin. Use the form https://clinic.example")
    return origins


@dataclass(frozen=True)
class Rate:
    """A token bucket: a burst of `calls`, refilled with `calls` every `seconds`."""

    calls: int
    seconds: int


@dataclass(frozen=True)
class Rates:
    """Rate limits per client address. A clinic behind NAT shares one address among hundreds of users."""

    credentials: Rate = Rate(30, 60)
    """For each method that takes a password or a token. Permits a shift to log in and slows password guessing."""
    calls: Rate = Rate(300, 1)
    """For all other calls together: ten times the load of a hundred busy users, and below the services' capacity."""
    reflection: Rate = Rate(100, 10)
    """For reflection streams. With their maximum duration, this limits the open streams per address."""


@dataclass(frozen=True)
class Capacity:
    """Limits of concurrent requests across all clients. Requests over a limit return 503."""

    calls: int = 4096
    """Unary calls per service."""
    streams: int = 4096
    """Streams per service. The service also limits them per user and per address."""
    health: int = 128
    """Health checks per service."""
    reflection: int = 1024
    """Reflection streams. More than the rate limit permits for one address."""


@dataclass(frozen=True)
class ExternalIssuer:
    """An OpenID Connect issuer whose tokens are accepted. Auth reads its keys."""

    url: str
    audience: str


@dataclass(frozen=True)
class Target:
    """An environment in which the gateway runs. Paths are those in Envoy's file system."""

    listen: Address
    """Public address: HTTP/1.1 and HTTP/2 without TLS, on one port."""
    admin: Address
    """Address of Envoy's administration interface. It must not be public."""
    upstreams: Mapping[str, tuple[Address, ...]]
    """Addresses of each service's processes, by short name (contract.SERVICES)."""
    descriptors: Path
    """Path of descriptors.binpb."""
    site: Path | None = None
    """Folder of the static site that envoy.site writes (openapi.json and docs/). None disables it."""
    console: Path | None = None
    """Folder of the built console. It may be built while the gateway runs. None disables the console."""
    access_log: Path | None = None
    """File of the access log. None writes to standard output."""
    discovery: Literal["static", "dns"] = "static"
    """Whether upstream hosts are IP addresses ("static") or DNS names that resolve to all addresses ("dns")."""
    tls: UpstreamTls | None = None
    """TLS to the services. None connects without TLS."""
    reflection: bool = True
    """Enables gRPC reflection."""
    cors_origins: tuple[str, ...] = ()
    """Allowed CORS origins, such as `https://clinic.example`."""
    external_issuer: ExternalIssuer | None = None
    """The issuer whose tokens are accepted beside those of auth."""
    trusted_proxies: int = 0
    """Number of proxies in front of the gateway. Each appends its client's address to X-Forwarded-For."""
    workers: int = 1
    """Number of Envoy worker threads (the `--concurrency` flag). One suffices for four services on a laptop."""
    call_seconds: int = 15
    """Maximum duration of a unary call in seconds. Clients can set a shorter deadline. Streams are not limited."""
    max_connections: int = 10_000
    """Maximum number of client connections."""
    heap_bytes: int = 320 * 1024 * 1024
    """Maximum heap in bytes. Must be at most two thirds of the container's memory, so Envoy sheds load before the
    container is killed."""
    drains: bool = False
    """Enables draining through the administration interface, which envoy/gracefully requires."""
    rate_limits: bool = True
    """Enables `rates`. Disable them only for load tests, whose requests come from one address."""
    rates: Rates = Rates()
    capacity: Capacity = Capacity()
    otlp: Address | None = None
    """Collector that receives spans by OTLP over gRPC. None disables tracing."""
    trace_percent: float = 100
    """Percentage of requests that are sampled."""
