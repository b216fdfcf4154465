"""The parts of the local system, and the embedded broker."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import StartError
from deploy.settings import HOST, Settings
from deploy.topology import TOPOLOGY
from services.common.audit.retain import RetentionSettings
from services.common.audit.signatures import parse_private_key
from tools.local.checks import is_kafka_ready
from tools.local.data_folder import DataFolder
from tools.local.part import Part, RunningPart, Step
from tools.local.system import System, build_broker
from tools.ports import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.lock(tmp_path / "data") as folder:
        yield folder


def build_nodes(folder: DataFolder, **settings: str) -> dict[str, Part | Step]:
    """Returns the parts and steps by name."""
    system = System(Settings.read({f"PULSETRACK_{name}": value for name, value in settings.items()}), folder)
    folder.assign_ports(free_port(), system.port_names())
    return {node.name: node for node in system.nodes()}


def read_environment(node: Part | Step) -> dict[str, str]:
    assert isinstance(node, Part)
    return dict(node.command.environment)


def test_all_dependencies_exist(folder: DataFolder) -> None:
    for settings in (
        {},
        {"WORKERS": "3"},
        {"KAFKA": "kafka:9092"},
        {"DATABASE_URL": "postgresql://admin@host/postgres"},
        {"ACCESS_EVENT_RETENTION_DAYS": "400"},
    ):
        found = build_nodes(folder, **settings)
        assert {need for node in found.values() for need in node.needs} <= set(found)


@pytest.mark.parametrize(
    ("chosen", "passed_on"), [({}, "open"), ({"SIGN_UP": "invite"}, "invite")], ids=["unset", "set"]
)
def test_sign_up_is_open_by_default(folder: DataFolder, chosen: dict[str, str], passed_on: str) -> None:
    assert read_environment(build_nodes(folder, **chosen)["auth"])["PULSETRACK_SIGN_UP"] == passed_on


def test_admins_need_no_second_factor_by_default(folder: DataFolder) -> None:
    for chosen, passed_on in [({}, "optional"), ({"ADMIN_SECOND_FACTOR": "required"}, "required")]:
        environment = read_environment(build_nodes(folder, **chosen)["auth"])
        assert environment["PULSETRACK_ADMIN_SECOND_FACTOR"] == passed_on


def test_operator_is_warned_that_no_mail_is_sent() -> None:
    for chosen, warned in [({}, True), ({"PULSETRACK_SMTP_URL": "smtp://mail.test"}, False)]:
        settings = Settings.read(chosen)
        assert any("No mail is sent" in line for line in settings.warnings(sends_mail=settings.sends_mail)) == warned


def test_mail_server_is_passed_on_as_a_file(folder: DataFolder) -> None:
    for chosen, passed_on in [
        ({"SMTP_URL": "smtp://user:sesame@mail.test"}, "smtp://user:sesame@mail.test"),
        ({}, "off"),
    ]:
        environment = read_environment(build_nodes(folder, **chosen)["auth"])
        assert Path(environment["PULSETRACK_SMTP_URL_FILE"]).read_text() == passed_on
        assert "sesame" not in str(environment)


def test_commands_and_environments_contain_no_secret(folder: DataFolder) -> None:
    commands = str(
        [
            node.command
            for node in build_nodes(folder, ADMIN_PASSWORD="correct horse").values()
            if isinstance(node, Part)
        ]
    )
    files = list((folder.path / "secrets").iterdir())
    assert {"admin-password", "postgres-password", "auth-database-url", "client-secrets"} <= {
        file.name for file in files
    }
    assert [file.name for file in files if file.read_text() in commands] == []
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []


def test_workers_have_separate_ports_and_a_common_database(folder: DataFolder) -> None:
    found = build_nodes(folder, WORKERS="2")
    one, other = read_environment(found["patient"]), read_environment(found["patient-2"])
    assert one["PULSETRACK_LISTEN"] != other["PULSETRACK_LISTEN"]
    assert one["PULSETRACK_DATABASE_URL_FILE"] == other["PULSETRACK_DATABASE_URL_FILE"]
    assert {"auth", "auth-2", "patient", "patient-2", "billing-2", "analytics-2"} <= set(found["gateway"].needs)


def test_only_a_new_postgres_is_synced_and_has_its_migrations_loaded(folder: DataFolder) -> None:
    for is_new in (True, False):
        found = build_nodes(folder)
        migrations = found["migrations"]
        assert isinstance(migrations, Step)
        assert ("postgres-sync" in found, migrations.load is not None) == (is_new, is_new)
        assert ("postgres-sync" in found["gateway"].needs) == is_new
        (folder.path / "postgres").mkdir(exist_ok=True)


def test_running_servers_are_used(folder: DataFolder) -> None:
    found = build_nodes(
        folder, KAFKA="kafka:9092", DATABASE_URL="postgresql://admin:pw@db:6543/postgres?sslmode=require"
    )
    assert "postgres" not in found
    assert isinstance(found["broker"], Step)
    patient = read_environment(found["patient"])
    assert patient["PULSETRACK_KAFKA"] == "kafka:9092"
    url = Path(patient["PULSETRACK_DATABASE_URL_FILE"]).read_text()
    assert url.startswith("postgresql://pulsetrack_patient:")
    assert url.endswith("@db:6543/pulsetrack_patient?sslmode=require")


def test_traces_and_metrics_are_sent_to_the_chosen_receiver(folder: DataFolder) -> None:
    for settings, endpoint in (({}, ""), ({"OTLP_ENDPOINT": "collector:4317"}, "collector:4317")):
        found = build_nodes(folder, **settings)
        endpoints = [read_environment(found[service]).get("PULSETRACK_OTLP_ENDPOINT") for service in TOPOLOGY]
        assert endpoints == [endpoint] * len(TOPOLOGY)


def test_old_access_events_are_moved_by_the_owner_of_the_tables(folder: DataFolder) -> None:
    assert "patient-retention" not in build_nodes(folder)
    found = build_nodes(folder, ACCESS_EVENT_RETENTION_DAYS="400")
    for name in TOPOLOGY:
        settings = RetentionSettings.read(read_environment(found[f"{name}-retention"]))
        assert settings.access_event_retention_days == 400
        assert f"//pulsetrack_{name}_owner:" in settings.database_url
        assert settings.archive_folder == str(folder.path / "audit")
        parse_private_key(settings.archive_key)


def test_embedded_broker_causes_a_warning(folder: DataFolder) -> None:
    for settings, warned in (({}, 1), ({"PULSETRACK_KAFKA": "kafka:9092"}, 0)):
        system = System(Settings.read(settings), folder)
        folder.assign_ports(free_port(), system.port_names())
        assert sum("broker checks no credentials" in warning for warning in system.warnings()) == warned


@pytest.mark.parametrize(
    ("name", "value"), [("OTLP_ENDPOINT", "collector"), ("OTLP_ENDPOINT", "http://a:1"), ("TRACE_SAMPLE", "101")]
)
def test_invalid_receiver_is_named(name: str, value: str) -> None:
    with pytest.raises(StartError, match=f"^PULSETRACK_{name} must be .*{re.escape(value)}"):
        Settings.read({f"PULSETRACK_{name}": value})


def test_local_services_are_wired_as_in_the_topology(folder: DataFolder) -> None:
    found = build_nodes(folder)
    addresses = {name: f"{HOST}:{port}" for name, port in folder.state.ports.items()}
    for name, service in TOPOLOGY.items():
        environment = read_environment(found[name])
        assert service.addresses(addresses.__getitem__, addresses["broker"]).items() <= environment.items()
        secrets = {variable: Path(environment[f"{variable}_FILE"]).name for variable in service.secrets}
        assert secrets == service.secrets
        assert ("broker" in found[name].needs) == service.uses_kafka


def test_broker_serves_after_a_kill_and_a_restart(tmp_path: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with RunningPart(build_broker(port), tmp_path) as running:
            assert await is_kafka_ready(HOST, port)
            await running.kill()
            assert not await is_kafka_ready(HOST, port)
            await running.restart()
            assert await is_kafka_ready(HOST, port)
        assert not await is_kafka_ready(HOST, port)

    asyncio.run(run())


def test_missing_broker_is_reported_without_its_password(folder: DataFolder) -> None:
    broker = build_nodes(folder, KAFKA="sasl_plaintext://patient:secret@127.0.0.1:1")["broker"]

    async def check() -> None:
        assert isinstance(broker, Step)
        await broker.run()

    with pytest.raises(StartError) as raised:
        asyncio.run(check())
    assert str(raised.value) == "No Kafka broker responds at 127.0.0.1:1. Check PULSETRACK_KAFKA."
