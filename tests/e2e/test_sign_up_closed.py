"""An instance with closed sign-up and without reflection."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.auth.v1 import SignUpRequest
from services.common.protobuf.contract import SERVICES
from tests.e2e.sessions import ADMIN_EMAIL, PASSWORD, Session, a_patient
from tests.harness.client import attempt, connect
from tests.harness.system import NewFolder
from tests.harness.waiting import eventually
from tests.requests.tool import run
from tools.instance import Instance, run_instance

MESSAGE = "Sign-up is closed. Ask an administrator to invite you or to create a user for you."


@pytest.fixture(scope="module")
def closed(new_folder: NewFolder) -> Iterator[Instance]:
    settings = {"PULSETRACK_SIGN_UP": "closed", "PULSETRACK_REFLECTION": "off", "PULSETRACK_RATE_LIMITS": "off"}
    with run_instance(new_folder("closed"), **settings) as instance:
        yield instance


def new_user(**fields: str) -> dict[str, str]:
    return {"email": f"{uuid4()}@clinic.test", "username": uuid4().hex, "password": PASSWORD} | fields


BODIES = {
    "new user": new_user(),
    "email of the admin": new_user(email=ADMIN_EMAIL),
    "short password": new_user(password="x"),
    "empty": {},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_closed_sign_up_is_rejected_everywhere(closed: Instance, body: dict[str, Any]) -> None:
    request = SignUpRequest(**body)
    with Session.open(closed) as visitor, connect(closed.state().ports["auth"], "auth") as direct:
        rest = visitor.rest.post("/v1/auth/signup", json=body)
        rejections = [attempt(partial(client.sign_up, request)) for client in (visitor.client("auth"), direct)]
    error = rest.json()
    assert (rest.status_code, error["code"], error["message"]) == (403, 7, MESSAGE)
    assert [detail.get("reason") for detail in error["details"] if "reason" in detail] == ["SIGN_UP_CLOSED"]
    assert [(rejected.code.name, rejected.reason) for rejected in rejections] == [
        ("PERMISSION_DENIED", "SIGN_UP_CLOSED")
    ] * 2


def test_closed_sign_up_is_rejected_over_grpc_web(closed: Instance) -> None:
    call = (
        "buf",
        "curl",
        "--protocol",
        "grpcweb",
        "--schema",
        "gen/descriptors.binpb",
        "--data",
        json.dumps(new_user()),
    )
    rejected = run(*call, f"{closed.url}/pulsetrack.auth.v1.AuthService/SignUp")
    assert json.loads(rejected.stderr)["code"] == "permission_denied"


def test_user_created_by_an_admin_can_create_patients(closed: Instance) -> None:
    with Session.create_user(closed) as user:
        created = user.post("/v1/patients", a_patient())
        assert user.get(f"/v1/patients/{created['id']}") == created


def test_start_prints_whether_sign_up_is_open(closed: Instance, system: Instance) -> None:
    outputs = [eventually(partial(read_summary, instance)) for instance in (closed, system)]
    assert ["Sign-up is open: anyone" in output for output in outputs] == [False, True]
    assert ["/v1/auth/signup" in output for output in outputs] == [False, True]


def test_disabled_reflection_rejects_every_listing(closed: Instance) -> None:
    for port in (closed.port, *(closed.state().ports[service] for service in SERVICES)):
        listing = run("grpcurl", "-plaintext", f"127.0.0.1:{port}", "list")
        assert (listing.returncode != 0, listing.stdout) == (True, ""), port


def read_summary(instance: Instance) -> str:
    """Returns the output of an instance once it contains the summary, which is printed after the gateway is ready."""
    output = instance.folder.with_name(f"{instance.folder.name}.out").read_text(encoding="utf-8")
    return output if "PulseTrack is up after" in output else ""
