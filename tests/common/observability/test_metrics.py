"""Tests the metrics that a receiver gets from a running system."""

import re

import httpx
import pytest

from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import Session, a_patient
from tests.harness.otlp import Point, Receiver
from tests.harness.waiting import eventually
from tools.instance import Instance
from tools.local.process import ROOT

DOCUMENT = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
COMMON_METRICS = {
    "rpc.server.call.duration",
    "db.client.connection.count",
    "db.client.connection.max",
    "process.cpu.time",
    "process.memory.usage",
    "process.unix.file_descriptor.count",
    "pulsetrack.event_loop.delay",
    "pulsetrack.audit.age",
}
SERVICE_METRICS = {
    "auth": {"pulsetrack.mails.ended", "pulsetrack.mails.waiting"},
    "patient": {"pulsetrack.outbox.waiting", "pulsetrack.outbox.age"},
    "analytics": {"pulsetrack.consumer.lag", "pulsetrack.consumer.age", "pulsetrack.dead_letters"},
}


def find_latest(receiver: Receiver, service: str, name: str) -> list[Point]:
    """Returns the last value of a metric for each combination of attributes."""
    found = (point for point in receiver.points if (point.service, point.name) == (service, name))
    return [*{str(point.attributes): point for point in found}.values()]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_exports_its_metrics_and_no_others(receiver: Receiver, user: Session, service: str) -> None:
    user.get("/v1/billing/accounts")
    user.get("/v1/analytics/events")
    expected = COMMON_METRICS | SERVICE_METRICS.get(service, set())
    user.post("/v1/patients", a_patient())
    eventually(lambda: expected <= {point.name for point in receiver.points if point.service == service})
    assert {point.name for point in receiver.points if point.service == service} == expected


def test_documented_metrics_are_the_exported_metrics() -> None:
    documented = re.findall(r"^\| `([\w.]+)` \|", DOCUMENT.partition("## Metrics")[2], re.MULTILINE)
    assert sorted(documented) == sorted(COMMON_METRICS.union(*SERVICE_METRICS.values()))


def test_calls_are_counted_by_method_and_status(receiver: Receiver, system: Instance, user: Session) -> None:
    method = "pulsetrack.patient.v1.PatientService/GetPatient"

    def count(code: str) -> float:
        points = find_latest(receiver, "patient", "rpc.server.call.duration")
        labels = {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code}
        return sum(point.value for point in points if point.attributes == labels)

    patient = user.post("/v1/patients", a_patient())
    ok, missing = count("OK"), count("NOT_FOUND")
    for _ in range(3):
        user.get(f"/v1/patients/{patient['id']}")
    unknown = f"/v1/patients/{patient['id'][:-4]}0000"
    assert user.rest.get(unknown).status_code == httpx.codes.NOT_FOUND
    eventually(lambda: (count("OK"), count("NOT_FOUND")) == (ok + 3, missing + 1))


def test_process_metrics_are_plausible(receiver: Receiver, user: Session) -> None:
    def value(name: str) -> float:
        return sum(point.value for point in eventually(lambda: find_latest(receiver, "patient", name)))

    assert 0 < value("process.cpu.time") < 3600
    assert 20_000_000 < value("process.memory.usage") < 2_000_000_000
    assert 5 < value("process.unix.file_descriptor.count") < 1000
    assert 0 <= value("pulsetrack.event_loop.delay") < 60
    assert value("db.client.connection.max") == 10
