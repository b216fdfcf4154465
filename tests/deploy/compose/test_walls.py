"""Isolation of containers: privileges, networks and secrets."""

import json
import stat

import pytest

from deploy.topology import GATEWAY, tls_secrets
from services.common.protobuf.contract import SERVICES
from tests.deploy.compose.stack import SERVERS, Stack

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
LIST_TOPICS = (
    "import sys; from confluent_kafka.admin import AdminClient; "
    "from services.common.messaging.topic import client_config; "
    "print(*AdminClient(client_config(sys.argv[1])).list_topics(timeout=10).topics)"
)

CHECK_HEALTH = (
    "import sys, grpc; from grpc_health.v1 import health_pb2, health_pb2_grpc; "
    "stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(sys.argv[1])); "
    "print(stub.Check(health_pb2.HealthCheckRequest(), timeout=10))"
)


def test_only_the_gateway_port_is_published(system: Stack) -> None:
    published = {
        (one["Config"]["Labels"]["com.docker.compose.service"], inside, binding["HostIp"], binding["HostPort"])
        for one in system.containers().values()
        for inside, bindings in one["NetworkSettings"]["Ports"].items()
        for binding in bindings or ()
    }
    assert published == {("envoy", "8080/tcp", "127.0.0.1", str(system.port))}


@pytest.mark.parametrize("service", SERVERS)
def test_process_has_no_privileges(system: Stack, service: str) -> None:
    status = system.execute(service, "cat", "/proc/1/status").stdout.splitlines()
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert "0" not in facts["Uid"].split()
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", SERVERS)
def test_root_file_system_is_read_only(system: Stack, service: str) -> None:
    root = next(
        line.split() for line in system.execute(service, "cat", "/proc/mounts").stdout.splitlines() if " / " in line
    )
    assert "ro" in root[3].split(",")


def test_all_containers_are_restricted(system: Stack) -> None:
    for one in system.containers().values():
        host = one["HostConfig"]
        assert one["Config"]["User"] not in {"", "0", "root"}
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"]
        assert host["LogConfig"]["Config"]["max-size"]


@pytest.mark.parametrize("credentials", ["", "sasl_plaintext://patient:guess@"])
def test_kafka_rejects_clients_without_the_password(system: Stack, credentials: str) -> None:
    done = system.execute("patient", "python", "-c", LIST_TOPICS, f"{credentials}kafka:9092")
    assert (done.returncode, done.stdout) == (1, "")
    assert "KafkaException" in done.stderr


def test_service_refuses_a_client_without_a_certificate(system: Stack) -> None:
    done = system.execute("patient", "python", "-c", CHECK_HEALTH, "billing:50051")
    assert done.returncode == 1
    assert "UNAVAILABLE" in done.stderr


def test_kafka_accepts_a_service_with_its_password(system: Stack) -> None:
    script = f"import pathlib, sys; sys.argv[1] = pathlib.Path(sys.argv[1]).read_text(); {LIST_TOPICS}"
    done = system.execute("patient", "python", "-c", script, "/run/secrets/patient-kafka-url")
    assert "patient.events.v1" in done.stdout


@pytest.mark.parametrize(
    ("service", "host", "port"),
    [("billing", "kafka", 9092), ("auth", "kafka", 9092), ("auth", "envoy", 9901), ("patient", "postgres", 8080)],
)
def test_service_cannot_reach_other_servers(system: Stack, service: str, host: str, port: int) -> None:
    assert system.execute(service, "python", "-c", CONNECT, host, str(port)).returncode


def test_gateway_reaches_only_services(system: Stack) -> None:
    def can_reach(host: str, port: int) -> bool:
        return system.execute("envoy", "bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}").returncode == 0

    assert all(can_reach(service, 50051) for service in SERVICES)
    assert not can_reach("postgres", 5432)
    assert not can_reach("kafka", 9092)


def test_container_can_read_only_its_own_secrets(system: Stack) -> None:
    readable = {service: set(system.execute(service, "ls", "/run/secrets").stdout.split()) for service in SERVERS}
    certificates = {name: {*tls_secrets(name)} for name in SERVICES}
    assert readable == {
        "envoy": {*tls_secrets(GATEWAY)},
        "kafka": {"patient-kafka-password", "analytics-kafka-password"},
        "postgres": {"postgres-password"},
        "auth": {"auth-database-url", "client-secrets", "key-passphrase", "admin-password", "smtp-url"}
        | certificates["auth"],
        "patient": {"patient-database-url", "patient-client-secret", "patient-kafka-url"} | certificates["patient"],
        "billing": {"billing-database-url"} | certificates["billing"],
        "analytics": {"analytics-database-url", "analytics-kafka-url"} | certificates["analytics"],
    }


def test_secrets_are_in_no_configuration_and_no_log(system: Stack) -> None:
    assert stat.S_IMODE(system.secrets.stat().st_mode) == 0o700
    visible = json.dumps(system.containers()) + system.compose("config") + system.compose("logs", "--no-color")
    values = {file.name: file.read_text() for file in system.secrets.iterdir()}
    assert values.pop("smtp-url") == "off"  # not secret: there is no mail server
    assert [name for name, value in values.items() if value in visible] == []


@pytest.mark.parametrize("service", SERVICES)
def test_image_cannot_install_software(system: Stack, service: str) -> None:
    found = system.execute(service, "sh", "-c", "command -v pip pip3 uv gcc cc; python -m pip; python -m ensurepip")
    assert found.stdout == ""
    assert "No module named pip" in found.stderr
    assert "No module named ensurepip" in found.stderr
