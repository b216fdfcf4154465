"""docker-compose.yml matches the topology: services, dependencies, secrets, addresses and networks."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import yaml

from deploy.databases.__main__ import DatabasesSettings
from deploy.topology import (
    BACKUP_PASSWORD,
    CERTIFICATE_NAMES,
    CLIENTS,
    GATEWAY,
    GATEWAY_PORT,
    KAFKA,
    MIGRATIONS,
    OPERATOR_PASSWORD,
    PROBE,
    SERVICE_PORT,
    TLS_SETTINGS,
    TOPOLOGY,
    Service,
    database_name,
    tls_secrets,
)
from envoy.__main__ import TARGETS
from envoy.target import Address
from envoy.upstream_tls import UpstreamTls
from infrastructure.settings import NAMESPACE
from services.common.protobuf.contract import SERVICES
from services.common.settings import PREFIX
from tools.local.process import ROOT

Containers = dict[str, dict[str, Any]]

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "services" / "Dockerfile").read_text(encoding="utf-8")

COMPLETED, HEALTHY = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}
OTHER_CONTAINERS = {
    "postgres": {"databases"},
    "kafka": {"events"},
    "collector": {"calls"},
    "backup": {"databases"},
}
"""Containers of other projects and those that are only built, with their networks."""


def read_containers() -> Containers:
    """Returns the parts of each container that the topology determines."""
    common = COMPOSE["x-service-environment"]
    containers = {}
    for name, container in COMPOSE["services"].items():
        if name in OTHER_CONTAINERS:
            continue
        environment = container.get("environment", {})
        containers[name] = {
            "image": container["image"].partition(":")[0],
            "target": container.get("build", {}).get("target"),
            "command": container.get("command"),
            "wiring": {key: value for key, value in environment.items() if not str(value).startswith("$")},
            "settings": {key for key, value in environment.items() if str(value).startswith("$")} - common.keys(),
            "secrets": set(container.get("secrets", [])),
            "networks": set(container["networks"]),
            "depends_on": container["depends_on"],
        }
    return containers


def describe_containers(topology: Mapping[str, Service]) -> Containers:
    """Returns the same parts, derived from a topology."""
    passwords: dict[str, str] = {}
    for service in topology.values():
        secrets = service.database_secrets
        passwords |= dict(zip(service.job_passwords, (secrets.password, secrets.owner_password), strict=True))
    containers = {
        "envoy": {
            **describe("envoy", None, networks={"outside", "calls"}, depends_on=[*topology]),
            "secrets": set(tls_secrets(GATEWAY)),
        },
        "databases": describe(
            "databases",
            "databases",
            secrets={"PULSETRACK_DATABASE_URL": "postgres-url", **passwords},
            networks={"databases"},
            depends_on={"postgres": HEALTHY},
        ),
    }
    for name, service in topology.items():
        containers[name] = describe_service(topology, name)
        containers[f"{name}-migrations"] = describe(
            name,
            None,
            command=[MIGRATIONS, name],
            wiring={"PULSETRACK_DATABASE_ROLE": database_name(name)},
            secrets={"PULSETRACK_DATABASE_URL": service.database_secrets.owner_url},
            networks={"databases"},
            depends_on={"databases": COMPLETED},
        )
    return containers


def describe_service(topology: Mapping[str, Service], name: str) -> dict[str, Any]:
    service = topology[name]
    kafka, kafka_url = ({"kafka": HEALTHY}, {KAFKA: service.kafka_secrets.url}) if service.uses_kafka else ({}, {})
    return describe(
        name,
        name,
        wiring=service.addresses(lambda called: f"{called}:{topology[called].port}"),
        settings=service.settings,
        secrets={
            "PULSETRACK_DATABASE_URL": service.database_secrets.url,
            **service.secrets,
            **kafka_url,
            **dict(zip(TLS_SETTINGS, tls_secrets(name), strict=True)),
        },
        networks={
            "calls",
            "databases",
            *(["events"] if service.uses_kafka else []),
            *(["mail"] if service.sends_mail else []),
        },
        depends_on={f"{name}-migrations": COMPLETED, **kafka},
    )


def describe(
    image: str,
    target: str | None,
    *,
    command: list[str] | None = None,
    wiring: Mapping[str, str] | None = None,
    settings: tuple[str, ...] = (),
    secrets: Mapping[str, str] | None = None,
    networks: set[str],
    depends_on: object,
) -> dict[str, Any]:
    files = {f"{variable}_FILE": f"/run/secrets/{name}" for variable, name in (secrets or {}).items()}
    return {
        "image": f"pulsetrack/{image}",
        "target": target,
        "command": command,
        "wiring": {**(wiring or {}), **files},
        "settings": set(settings),
        "secrets": set((secrets or {}).values()),
        "networks": networks,
        "depends_on": depends_on,
    }


def test_topology_has_the_services_of_the_protos() -> None:
    assert list(TOPOLOGY) == list(SERVICES)
    assert all(name == service.name for name, service in TOPOLOGY.items())


def test_compose_matches_the_topology() -> None:
    assert read_containers() == describe_containers(TOPOLOGY)


@pytest.mark.parametrize(
    ("service", "change"),
    [
        ("auth", {"settings": ()}),
        ("auth", {"secrets": {}}),
        ("auth", {"sends_mail": False}),
        ("patient", {"calls": ("auth",)}),
        ("billing", {"calls": ("auth",)}),
        ("analytics", {"uses_kafka": False}),
        ("billing", {"uses_kafka": True}),
        ("auth", {"port": 50052}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_compose_does_not_match_a_changed_topology(service: str, change: dict[str, Any]) -> None:
    changed = {**TOPOLOGY, service: replace(TOPOLOGY[service], **change)}
    assert read_containers() != describe_containers(changed)


def test_compose_does_not_match_a_topology_with_another_service() -> None:
    assert read_containers() != describe_containers({**TOPOLOGY, "labs": Service(name="labs")})


def test_compose_declares_exactly_the_secrets_that_containers_use() -> None:
    used = {name for container in COMPOSE["services"].values() for name in container.get("secrets", [])}
    folder = "${PULSETRACK_DATA_DIR:-.pulsetrack}/compose"
    assert COMPOSE["secrets"] == {name: {"file": f"{folder}/{name}"} for name in used}
    derived = {"postgres-url", "postgres-password"}
    of_databases = {name for service in TOPOLOGY.values() for name in service.database_secrets}
    of_services = {name for service in TOPOLOGY.values() for name in service.secrets.values()}
    of_kafka = {name for service in TOPOLOGY.values() if service.uses_kafka for name in service.kafka_secrets}
    of_tls = {secret for name in CERTIFICATE_NAMES for secret in tls_secrets(name)}
    assert used == derived | of_databases | of_services | of_kafka | of_tls


def test_compose_networks_separate_containers_from_what_they_do_not_need() -> None:
    assert COMPOSE["networks"] == {
        "outside": {},
        "mail": {},
        **{name: {"internal": True} for name in ("calls", "databases", "events")},
    }
    assert {name: set(COMPOSE["services"][name]["networks"]) for name in OTHER_CONTAINERS} == OTHER_CONTAINERS
    assert [name for name, container in COMPOSE["services"].items() if "ports" in container] == ["envoy"]
    [port] = COMPOSE["services"]["envoy"]["ports"]
    assert port.endswith(f":{GATEWAY_PORT}")


def test_every_client_secret_belongs_to_a_service_that_calls_another() -> None:
    assert set(CLIENTS) <= {name for name, service in TOPOLOGY.items() if set(service.calls) - {"auth"}}


def test_gateway_connects_to_the_services_of_the_topology() -> None:
    upstreams = {name: (Address(name, service.port),) for name, service in TOPOLOGY.items()}
    assert TARGETS["compose"].upstreams == upstreams
    assert TARGETS["compose"].listen.port == GATEWAY_PORT
    assert TARGETS["compose"].tls == UpstreamTls(*(f"/run/secrets/{name}" for name in tls_secrets(GATEWAY)))
    in_zone = {name: (Address(f"{name}.{NAMESPACE}", service.port),) for name, service in TOPOLOGY.items()}
    assert TARGETS["cloud"].upstreams == in_zone


def test_databases_job_reads_the_passwords_of_the_topology() -> None:
    fields = {f"{PREFIX}{field.name.upper()}" for field in msgspec.structs.fields(DatabasesSettings)}
    passwords = {variable for service in TOPOLOGY.values() for variable in service.job_passwords}
    assert {*passwords, OPERATOR_PASSWORD, BACKUP_PASSWORD} == {
        field for field in fields if field.endswith("_PASSWORD")
    }


def test_service_images_listen_on_the_port_of_the_topology() -> None:
    assert {service.port for service in TOPOLOGY.values()} == {SERVICE_PORT}
    assert f"ENV PULSETRACK_LISTEN=0.0.0.0:{SERVICE_PORT}\nEXPOSE {SERVICE_PORT}\n" in DOCKERFILE
    assert f"CMD {list(PROBE)}".replace("'", '"') in DOCKERFILE


def test_each_service_has_an_image_that_runs_it() -> None:
    targets = re.findall(
        r'^FROM service AS (\w+)\n(?:ENV .*\n)?COPY --from=code /images/(\w+) /\nCMD \["(\S+)"\]', DOCKERFILE, re.M
    )
    assert targets == [(name, name, f"services.{name}") for name in TOPOLOGY]
