"""Checks of the generated configuration that do not require a running gateway."""

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoy.config import Address, Target, render
from envoy.program import EnvoyMissingError, binary
from infrastructure.environments import ENVIRONMENTS
from services.common.protobuf.contract import SERVICES, AccessKind, all_methods

ROOT = Path(__file__).resolve().parents[2]
UPSTREAMS = {service: (Address(service, 50051), Address(service, 50052)) for service in SERVICES}


def target(upstreams: Mapping[str, tuple[Address, ...]] = UPSTREAMS) -> Target:
    return Target(
        listen=Address("0.0.0.0", 80),
        admin=Address("127.0.0.1", 81),
        upstreams=upstreams,
        descriptors=Path("/descriptors.binpb"),
        discovery="dns",
    )


def routes(config: str) -> list[dict[str, Any]]:
    (listener,) = yaml.safe_load(config)["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    result: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return result


def test_all_targets_are_valid() -> None:
    subprocess.run([sys.executable, "-m", "envoy", "--check"], check=True)


def test_only_public_methods_skip_authentication() -> None:
    public = {route["name"] for route in routes(render(target())) if "name" in route and skips_authentication(route)}
    assert public == {method.name for method in all_methods() if method.access.kind is AccessKind.PUBLIC}


def skips_authentication(route: dict[str, Any]) -> bool:
    return "envoy.filters.http.jwt_authn" in route.get("typed_per_filter_config", {})


def test_each_process_of_a_service_is_an_endpoint() -> None:
    clusters = {
        cluster["name"]: cluster for cluster in yaml.safe_load(render(target()))["static_resources"]["clusters"]
    }
    for service in SERVICES:
        (locality,) = clusters[service]["load_assignment"]["endpoints"]
        assert len(locality["lb_endpoints"]) == 2
        assert clusters[service]["cluster_type"]["name"] == "envoy.clusters.dns"


def test_service_without_upstreams_is_an_error() -> None:
    with pytest.raises(KeyError, match="auth"):
        render(target({}))


def test_missing_envoy_binary_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_not_found(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("envoy.program.distribution", raise_not_found)
    with pytest.raises(EnvoyMissingError, match="docker compose"):
        binary()


def test_heap_limit_fits_every_container() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    limits_mib = [int(compose["services"]["envoy"]["mem_limit"].removesuffix("m"))]
    limits_mib += [environment.services["gateway"].memory_mib for environment in ENVIRONMENTS.values()]
    assert target().heap_bytes <= min(limits_mib) * 1024 * 1024 * 2 / 3
