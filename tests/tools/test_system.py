"""PulseTrack's parts, as settings want them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import StartError
from deploy.settings import Settings
from tools.local.data_folder import DataFolder
from tools.local.part import Part, Step
from tools.local.system import SERVICES, System
from tools.ports import free_port


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.taken(tmp_path / "data") as folder:
        yield folder


def nodes(folder: DataFolder, **settings: str) -> dict[str, Part | Step]:
    """The parts and steps by name."""
    system = System(Settings.read({f"PULSETRACK_{name}": value for name, value in settings.items()}), folder)
    folder.keep_ports(free_port(), system.port_names())
    return {node.name: node for node in system.nodes()}


def environment(node: Part | Step) -> dict[str, str]:
    assert isinstance(node, Part)
    return dict(node.command.environment)


def test_all_that_a_part_needs_is_there(folder: DataFolder) -> None:
    for settings in (
        {},
        {"WORKERS": "3"},
        {"KAFKA": "kafka:9092"},
        {"DATABASE_URL": "postgresql://admin@host/postgres"},
    ):
        found = nodes(folder, **settings)
        assert {need for node in found.values() for need in node.needs} <= set(found)


@pytest.mark.parametrize(("said", "passed_on"), [({}, "open"), ({"SIGN_UP": "closed"}, "closed")], ids=["unset", "set"])
def test_sign_up_is_open_on_a_laptop_unless_closed(folder: DataFolder, said: dict[str, str], passed_on: str) -> None:
    assert environment(nodes(folder, **said)["auth"])["PULSETRACK_SIGN_UP"] == passed_on


def test_no_secret_is_where_other_processes_can_read_it(folder: DataFolder) -> None:
    commands = str(
        [node.command for node in nodes(folder, ADMIN_PASSWORD="correct horse").values() if isinstance(node, Part)]
    )
    files = list((folder.path / "secrets").iterdir())
    assert {"admin-password", "postgres-password", "auth-database-url", "client-secrets"} <= {
        file.name for file in files
    }
    assert [file.name for file in files if file.read_text() in commands] == []
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []


def test_every_worker_has_a_port_of_its_own_and_one_database(folder: DataFolder) -> None:
    found = nodes(folder, WORKERS="2")
    one, other = environment(found["patient"]), environment(found["patient-2"])
    assert one["PULSETRACK_LISTEN"] != other["PULSETRACK_LISTEN"]
    assert one["PULSETRACK_DATABASE_URL_FILE"] == other["PULSETRACK_DATABASE_URL_FILE"]
    assert {"auth", "auth-2", "patient", "patient-2", "billing-2", "analytics-2"} <= set(found["gateway"].needs)


def test_servers_that_run_already_are_used(folder: DataFolder) -> None:
    found = nodes(folder, KAFKA="kafka:9092", DATABASE_URL="postgresql://admin:pw@db:6543/postgres?sslmode=require")
    assert "postgres" not in found
    assert isinstance(found["broker"], Step)
    patient = environment(found["patient"])
    assert patient["PULSETRACK_KAFKA"] == "kafka:9092"
    url = Path(patient["PULSETRACK_DATABASE_URL_FILE"]).read_text()
    assert url.startswith("postgresql://pulsetrack_patient:")
    assert url.endswith("@db:6543/pulsetrack_patient?sslmode=require")


def test_traces_and_metrics_are_sent_where_the_settings_say(folder: DataFolder) -> None:
    for settings, endpoint in (({}, ""), ({"OTLP_ENDPOINT": "collector:4317"}, "collector:4317")):
        found = nodes(folder, **settings)
        told = [environment(found[service]).get("PULSETRACK_OTLP_ENDPOINT") for service in SERVICES]
        assert told == [endpoint] * len(SERVICES)


def test_the_user_is_warned_of_the_open_broker(folder: DataFolder) -> None:
    for settings, warned in (({}, 1), ({"PULSETRACK_KAFKA": "kafka:9092"}, 0)):
        system = System(Settings.read(settings), folder)
        folder.keep_ports(free_port(), system.port_names())
        assert sum("broker checks no credentials" in remark for remark in system.remarks()) == warned


@pytest.mark.parametrize(
    ("name", "value"), [("OTLP_ENDPOINT", "collector"), ("OTLP_ENDPOINT", "http://a:1"), ("TRACE_SAMPLE", "101")]
)
def test_a_receiver_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(StartError, match=f"^PULSETRACK_{name} must be .*{re.escape(value)}"):
        Settings.read({f"PULSETRACK_{name}": value})
