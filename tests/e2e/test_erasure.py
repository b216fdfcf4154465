"""An erasure removes the data of a patient from all databases and logs, and keeps the audit log verifiable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.e2e.test_restarts import verify_audit
from tests.harness.background import Background
from tests.harness.sql import Sql
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tests.patient.erasing import dump
from tools.instance import Instance, run_instance


@pytest.fixture(scope="module")
def instance(new_folder: NewFolder) -> Iterator[Instance]:
    """A system that erases patients at once."""
    settings = {"PULSETRACK_RATE_LIMITS": "off", "PULSETRACK_ERASURE_DELAY_DAYS": "0"}
    with run_instance(new_folder("erasure"), **settings) as instance:
        yield instance


@pytest.fixture
def admin(instance: Instance) -> Iterator[Session]:
    """The first admin."""
    with Session.log_in(instance, ADMIN_EMAIL, instance.admin_password) as session:
        yield session


def build_values() -> dict[str, Any]:
    """Returns the fields of a patient with unmistakable values."""
    return {
        "name": f"Name{uuid4().hex}",
        "email": f"{uuid4().hex}@clinic.test",
        "address": uuid4().hex,
        "phone": f"+{uuid4().int % 10**14}",
        "medicalRecordNumber": uuid4().hex,
    }


def read_databases(background: Background, instance: Instance) -> str:
    """Returns the rows of all tables of all services."""
    urls = [(instance.folder / "secrets" / f"{service}-database-url").read_text() for service in SERVICES]
    return "\n".join(row for url in urls for row in dump(Sql(background, url)))


def read_logs(folder: Path) -> str:
    """Returns the logs of all processes."""
    return "\n".join(path.read_text(errors="replace") for path in (folder / "logs").rglob("*") if path.is_file())


def find(values: list[str], text: str) -> set[str]:
    """Returns the values that a text contains."""
    return {value for value in values if value in text}


def test_no_database_and_no_log_contains_data_of_an_erased_patient(
    background: Background, instance: Instance, admin: Session
) -> None:
    first, second = build_values(), build_values()
    values = [*first.values(), *second.values()]
    key = {"idempotency-key": str(uuid4())}
    created = admin.rest.post("/v1/patients", json=a_patient(**first), headers=key).raise_for_status().json()
    path = f"/v1/patients/{created['id']}"
    admin.rest.patch(path, json=second).raise_for_status()
    assert admin.get(path)["name"] == second["name"]
    admin.get("/v1/patients", pageSize=10)
    query = {"patientId": created["id"]}
    eventually(lambda: len(admin.get("/v1/analytics/events", **query).get("events", [])) == 2)
    eventually(lambda: admin.get("/v1/billing/accounts", **query)["billingAccounts"][0]["name"] == second["name"])
    assert find(values, read_databases(background, instance)) == set(values)

    admin.post(f"{path}:erase", {"reason": "Request 2026-117"})
    eventually(lambda: len(admin.get("/v1/analytics/events", **query)["events"]) == 4, seconds=60)
    eventually(lambda: admin.get("/v1/billing/accounts", **query)["billingAccounts"][0]["name"] == "erased")
    assert find(values, read_databases(background, instance)) == set()
    assert find([*values, created["id"]], read_logs(instance.folder)) == {created["id"]}
    assert admin.rest.get(path).status_code == 404
    events = admin.get(f"{path}/access-events")["accessEvents"]
    assert [event["query"] for event in events if event["method"].endswith("/ErasePatient")] == [
        '{"executed":true}',
        '{"reason":"Request 2026-117"}',
    ]
    eventually(lambda: ", 0 not sealed yet." in verify_audit(instance).stdout)
