"""What people come for, through the one port that is published."""

import json
import shutil
import subprocess

import pytest

from tests.compose.stack import Stack
from tests.e2e.people import Person, a_patient
from tests.e2e.test_journey import test_by_native_grpc, test_by_rest

__all__ = ["test_by_native_grpc", "test_by_rest"]  # the same journeys as on a laptop, on these containers


def test_by_grpcurl(system: Stack, user: Person) -> None:
    program = shutil.which("grpcurl")
    if not program:
        pytest.skip("grpcurl is not installed")

    def grpcurl(*arguments: str) -> str:
        command = [program, "-plaintext", "-H", f"authorization: Bearer {user.token}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    address = system.url.removeprefix("http://")
    assert "pulsetrack.patient.v1.PatientService" in grpcurl(address, "list").split()
    patient = {**a_patient(), "date_of_birth": "1980-02-29"}
    del patient["dateOfBirth"]
    request = json.dumps({"patient": patient})
    created = json.loads(grpcurl("-d", request, address, "pulsetrack.patient.v1.PatientService/CreatePatient"))
    assert user.get(f"/v1/patients/{created['id']}")["email"] == patient["email"]


def test_the_first_admin_logs_in_with_the_password_that_was_made(system: Stack) -> None:
    password = (system.secrets / "admin-password").read_text()
    with Person.logged_in(system, "admin@pulsetrack.local", password) as admin:
        assert admin.get("/v1/auth/me")["role"] == "ROLE_ADMIN"
