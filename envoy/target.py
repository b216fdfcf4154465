"""What a gateway is written for: where it listens, and where the services are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envoy.extension import Config

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Address:
    """A host (an IP address, or a name where names are looked up) and a TCP port."""

    host: str
    port: int


def socket_address(address: Address) -> Config:
    """Returns an address as Envoy takes it."""
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def parse_origins(text: str) -> tuple[str, ...]:
    """Returns the web origins that a text names, separated by commas. Raises ValueError for what is not an origin."""
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://clinic.example")
    return origins


@dataclass(frozen=True)
class Rate:
    """So many calls at once, and one more as often as `calls` in `seconds` says."""

    calls: int
    seconds: int


@dataclass(frozen=True)
class Rates:
    """How often one client address may call. A clinic behind NAT is one address: hundreds of people."""

    credentials: Rate = Rate(30, 60)
    """Each of Login, SignUp and RefreshToken: a shift that begins passes, and who guesses passwords waits."""
    calls: Rate = Rate(300, 1)
    """All other calls together: ten times what a hundred busy people make, and less than what the services can do."""
    reflection: Rate = Rate(100, 10)
    """Reflection streams: with their longest duration, this bounds how many one address has open at once."""


@dataclass(frozen=True)
class Capacity:
    """How much may be under way at once, over all client addresses; more is answered with 503."""

    calls: int = 4096
    """Calls of each service."""
    streams: int = 4096
    """Streams of each service, which itself bounds them for each user and each address."""
    health: int = 128
    """Health checks of each service."""
    reflection: int = 1024
    """Reflection streams: more than one address can have open."""


@dataclass(frozen=True)
class Target:
    """A place where the gateway runs. Paths are as Envoy sees them."""

    listen: Address
    """Where clients come in: HTTP/1.1 and HTTP/2 without TLS, on one port."""
    admin: Address
    """Envoy's administration interface: never reachable from outside."""
    upstreams: Mapping[str, tuple[Address, ...]]
    """The processes of each service, by its short name (contract.SERVICES)."""
    descriptors: Path
    """The path of descriptors.binpb."""
    site: Path | None = None
    """The folder that tools.site has written, with openapi.json and docs/; without one, neither is served."""
    access_log: Path | None = None
    """The file of the access log; standard output if None."""
    discovery: Literal["static", "dns"] = "static"
    """Whether upstreams are IP addresses ("static") or names that stand for all their addresses ("dns")."""
    reflection: bool = True
    """Whether gRPC reflection is open."""
    cors_origins: tuple[str, ...] = ()
    """The other origins whose pages may call: `https://clinic.example`."""
    trusted_proxies: int = 0
    """How many proxies stand before the gateway, each of which adds its caller's address to X-Forwarded-For."""
    workers: int = 1
    """Envoy's threads (its `--concurrency`, a flag and not part of the file). One serves a laptop's four services."""
    call_seconds: int = 15
    """The longest that a call may take; a client's own deadline may be shorter. Streams are not bound by it."""
    max_connections: int = 10_000
    """Clients connected at once; more are refused."""
    heap_bytes: int = 320 * 1024 * 1024
    """The memory that Envoy may allocate: at most two thirds of what its container has, so that it refuses requests
    before the container is killed."""
    drains: bool = False
    """Whether the administration interface takes the command to drain, as envoy/gracefully sends it."""
    rate_limits: bool = True
    """Whether `rates` hold. Without them for load tests only: they come from one address."""
    rates: Rates = Rates()
    capacity: Capacity = Capacity()
    otlp: Address | None = None
    """Who receives spans, by OTLP over gRPC; nobody if None."""
    trace_percent: float = 100
    """Which part of the calls is sampled, if anybody receives spans."""
