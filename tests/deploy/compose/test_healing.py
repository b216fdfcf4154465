"""What happens when containers die, are stopped, or become more."""

import json

import pytest

from tests.deploy.compose.stack import SERVERS, Stack
from tests.e2e.load import Load
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.harness.waiting import eventually


def created_and_followed(session: Session) -> str:
    """Creates a patient, and returns its id when billing and analytics know it too."""
    patient = session.post("/v1/patients", a_patient())
    eventually(lambda: session.get("/v1/billing/accounts", patientId=patient["id"]).get("billingAccounts"), seconds=60)
    eventually(lambda: session.get("/v1/analytics/events", patientId=patient["id"]).get("events"), seconds=60)
    return str(patient["id"])


@pytest.mark.parametrize("service", SERVERS)
def test_a_crash_heals_by_itself(system: Stack, service: str) -> None:
    system.crash(service)
    system.until_healed(service)
    with Session.create_user(system) as session:
        created_and_followed(session)


@pytest.mark.parametrize("service", SERVERS)
def test_a_container_that_was_killed_comes_back_with_the_next_up(system: Stack, service: str) -> None:
    system.compose("kill", service)
    system.make("up")
    with Session.create_user(system) as session:
        created_and_followed(session)


def test_what_was_there_is_there_after_down_and_up(system: Stack) -> None:
    password = system.admin_password
    with Session.create_user(system) as session:
        patient = session.get(f"/v1/patients/{created_and_followed(session)}")
        token = session.token
    system.make("down")
    assert system.containers() == {}
    assert password not in system.make("up")  # it is shown only when it was made
    with Session.open(system, token) as session, Session.log_in(system, ADMIN_EMAIL, password):
        assert session.get(f"/v1/patients/{patient['id']}") == patient
        assert session.get("/v1/analytics/events", patientId=patient["id"])["events"]
        created_and_followed(session)


def test_a_service_becomes_more_containers_and_fewer_again_without_a_failed_write(system: Stack, user: Session) -> None:
    system.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "patient=3")
    containers = system.containers("patient").values()
    addresses = {one["NetworkSettings"]["Networks"][f"{system.project}_calls"]["IPAddress"] for one in containers}
    assert len(addresses) == 3

    def served() -> bool:
        user.get("/v1/patients")
        lines = system.compose("logs", "--no-color", "--no-log-prefix", "envoy").splitlines()
        upstreams = {json.loads(line).get("upstream") or "" for line in lines if line.startswith("{")}
        return addresses <= {upstream.rpartition(":")[0] for upstream in upstreams}

    eventually(served, seconds=60)
    created_and_followed(user)
    with Load(user, per_second=10) as load:
        system.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "patient=1")
    assert load.created
    assert load.failed == []
    created_and_followed(user)
