"""Recovery of containers, and scaling."""

import json

import pytest

from tests.deploy.compose.stack import SERVERS, Stack
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.e2e.steady_load import Load
from tests.harness.waiting import eventually


def create_and_follow(session: Session) -> str:
    """Creates a patient, and returns its id after billing and analytics have processed it."""
    patient = session.post("/v1/patients", a_patient())
    eventually(lambda: session.get("/v1/billing/accounts", patientId=patient["id"]).get("billingAccounts"), seconds=60)
    eventually(lambda: session.get("/v1/analytics/events", patientId=patient["id"]).get("events"), seconds=60)
    return str(patient["id"])


@pytest.mark.parametrize("service", SERVERS)
def test_crashed_container_recovers(system: Stack, service: str) -> None:
    system.crash(service)
    system.wait_until_healthy(service)
    with Session.create_user(system) as session:
        create_and_follow(session)


@pytest.mark.parametrize("service", SERVERS)
def test_up_restarts_a_killed_container(system: Stack, service: str) -> None:
    system.compose("kill", service)
    system.run_program("up")
    with Session.create_user(system) as session:
        create_and_follow(session)


def test_data_survives_down_and_up(system: Stack) -> None:
    password = system.admin_password
    with Session.create_user(system) as session:
        patient = session.get(f"/v1/patients/{create_and_follow(session)}")
        token = session.token
    system.run_program("down")
    assert system.containers() == {}
    assert password not in system.run_program("up")  # shown only when it is created
    with Session.open(system, token) as session, Session.log_in(system, ADMIN_EMAIL, password):
        assert session.get(f"/v1/patients/{patient['id']}") == patient
        assert session.get("/v1/analytics/events", patientId=patient["id"])["events"]
        create_and_follow(session)


def test_scaling_a_service_out_and_in_fails_no_write(system: Stack, user: Session) -> None:
    system.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "patient=3")
    containers = system.containers("patient").values()
    addresses = {one["NetworkSettings"]["Networks"][f"{system.project}_calls"]["IPAddress"] for one in containers}
    assert len(addresses) == 3

    def are_all_serving() -> bool:
        user.get("/v1/patients")
        lines = system.compose("logs", "--no-color", "--no-log-prefix", "envoy").splitlines()
        upstreams = {json.loads(line).get("upstream") or "" for line in lines if line.startswith("{")}
        return addresses <= {upstream.rpartition(":")[0] for upstream in upstreams}

    eventually(are_all_serving, seconds=60)
    create_and_follow(user)
    with Load(user, per_second=10) as load:
        system.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "patient=1")
    assert load.created
    assert load.failed == []
    create_and_follow(user)
