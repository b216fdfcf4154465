"""The journey of a user: creates a patient, and reads its account and its event, by REST and by grpcurl."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from infrastructure.errors import DeployError

_SECONDS = 60


def travel(url: str, grpc: str | None, email: str, password: str, report: Callable[[str], None]) -> None:
    """Makes the calls. Takes the URL for REST, host:port for gRPC unless there is none, and an admin.

    Raises DeployError.
    """
    try:
        patient, token = _call_rest(url, email, password)
    except httpx.HTTPError as error:
        raise DeployError(f"A call by REST failed: {error}") from None
    report(f"REST: patient {patient} was created, has an account and an event")
    if not grpc or not shutil.which("grpcurl"):
        report(f"gRPC: skipped, because {'grpcurl is not installed' if grpc else 'the gateway has no address for it'}")
        return
    request = json.dumps({"id": patient})
    response = _call_grpc(token, "-d", request, grpc, "pulsetrack.patient.v1.PatientService/GetPatient")
    if json.loads(response)["id"] != patient:
        raise DeployError("GetPatient returned another patient by gRPC than by REST.")
    report(f"gRPC: GetPatient at {grpc} returned the same patient")


def _call_rest(url: str, email: str, password: str) -> tuple[str, str]:
    """Returns the id of a new patient, and the token of the user."""
    with httpx.Client(base_url=url, timeout=20) as client:
        tokens = _post(client, "/v1/auth/login", {"email": email, "password": password})
        client.headers["authorization"] = f"Bearer {tokens['accessToken']}"
        address = f"{uuid4()}@clinic.test"
        patient = {"name": "Ana Silva", "email": address, "address": "1 Road", "dateOfBirth": "1980-02-29"}
        created = str(_post(client, "/v1/patients", patient)["id"])
        for path, field in (("/v1/billing/accounts", "billingAccounts"), ("/v1/analytics/events", "events")):
            _wait_for(client, path, created, field)
        return created, str(tokens["accessToken"])


def _post(client: httpx.Client, path: str, body: dict[str, str]) -> dict[str, Any]:
    return dict(client.post(path, json=body).raise_for_status().json())


def _wait_for(client: httpx.Client, path: str, patient: str, field: str) -> None:
    """Waits until a list of the patient's resources is not empty."""
    limit = time.monotonic() + _SECONDS
    while not client.get(path, params={"patientId": patient}).raise_for_status().json().get(field):
        if time.monotonic() > limit:
            raise DeployError(f"{path} lists nothing for a new patient after {_SECONDS} s.")
        time.sleep(0.5)


def _call_grpc(token: str, *arguments: str) -> str:
    command = ["grpcurl", "-plaintext", "-H", f"authorization: Bearer {token}", *arguments]
    process = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
    if process.returncode:
        raise DeployError(f"A call by gRPC failed: {process.stderr.strip()}")
    return process.stdout
