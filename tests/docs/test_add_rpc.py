"""The recipe "Add an RPC" of CONTRIBUTING.md works in a copy of the repository."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.local.process import ROOT

pytestmark = pytest.mark.timeout(300)

RPC = """
  // Returns the name of a patient.
  //
  // Fails with:
  // - NOT_FOUND: PATIENT_NOT_FOUND
  rpc GetPatientSummary(GetPatientSummaryRequest) returns (PatientSummary) {
    option (pulsetrack.options.v1.access) = {
      roles: [
        ROLE_USER,
        ROLE_ADMIN
      ]
    };
    option (google.api.http) = {get: "/v1/patients/{id}/summary"};
  }
}
"""

MESSAGES = """
// Requests the summary of a patient.
message GetPatientSummaryRequest {
  // The patient's id.
  string id = 1 [
    (google.api.field_behavior) = REQUIRED,
    (buf.validate.field).string.uuid = true
  ];
}

// The summary of a patient.
message PatientSummary {
  // The patient's id.
  string id = 1;

  // The patient's full name.
  string name = 2;
}
"""

HANDLER = '''\
    async def get_patient_summary(self, request: GetPatientSummaryRequest) -> PatientSummary:
        """Returns the name of a patient.

        Raises PatientNotFound.
        """
        found = await self.get_patient(GetPatientRequest(id=request.id))
        patient = PATIENT_CODEC.loads(found.data)
        return PatientSummary(id=patient.id, name=patient.name)

'''

REQUEST = """
### Get the summary of the patient
# @name GetPatientSummary
GET {{url}}/v1/patients/{{patientId}}/summary
Authorization: Bearer {{token}}

> {%
  client.test("the name is returned", () => client.assert(response.body.name, "the name is missing"));
%}
"""

TEST = '''\
"""GetPatientSummary."""

from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import GetPatientSummaryRequest
from tests.harness.client import Client, Rejected
from tests.patient.factory import create_request


def test_summary_holds_the_name(patients: Client) -> None:
    created = patients.create_patient(create_request(name="Ana Silva"))
    summary = patients.get_patient_summary(GetPatientSummaryRequest(id=created.id))
    assert (summary.id, summary.name) == (created.id, "Ana Silva")


def test_unknown_id_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        patients.get_patient_summary(GetPatientSummaryRequest(id=str(uuid4())))
'''

TEST_REST = '''\
"""GetPatientSummary through the gateway."""

from tests.e2e.sessions import Session, a_patient


def test_summary_is_served_by_rest(user: Session) -> None:
    created = user.post("/v1/patients", a_patient())
    summary = user.get(f"/v1/patients/{created['id']}/summary")
    assert summary == {"id": created["id"], "name": created["name"]}
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the steps of the recipe applied."""
    copy = tmp_path_factory.mktemp("recipe") / "pulsetrack"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "node_modules"))
    (copy / ".venv").symlink_to(sys.prefix)
    edit(copy / "proto" / "pulsetrack" / "patient" / "v1" / "patient.proto", add_to_proto)
    run(copy, "tools.protos")
    edit(copy / "services" / "patient" / "service.py", add_handler)
    edit(copy / "tests" / "contract" / "expected.py", add_to_contract)
    edit(copy / "requests" / "patient.http", lambda text: text + REQUEST)
    run(copy, "tools.postman")
    (copy / "tests" / "patient" / "test_get_patient_summary.py").write_text(TEST, encoding="utf-8")
    (copy / "tests" / "e2e" / "test_get_patient_summary.py").write_text(TEST_REST, encoding="utf-8")
    return copy


def edit(file: Path, change: Callable[[str], str]) -> None:
    """Edits a file. Fails if the edit has no effect."""
    before = file.read_text(encoding="utf-8")
    after = change(before)
    assert after != before, file
    file.write_text(after, encoding="utf-8")


def add_to_proto(text: str) -> str:
    """Adds the RPC at the end of the service, and its messages at the end of the file."""
    return (
        re.sub(r"(service PatientService \{.*?\n)\}\n", lambda found: found[1] + RPC, text, flags=re.DOTALL) + MESSAGES
    )


def add_handler(text: str) -> str:
    """Adds the handler before that of GetPatient, and its imports."""
    text = text.replace("    GetPatientRequest,\n", "    GetPatientRequest,\n    GetPatientSummaryRequest,\n")
    text = text.replace("    PatientDeleted,\n", "    PatientDeleted,\n    PatientSummary,\n")
    return text.replace("    async def get_patient(", f"{HANDLER}    async def get_patient(")


def add_to_contract(text: str) -> str:
    """Adds a row after that of GetPatient, with the same roles."""
    [row] = re.findall(r'^ *Row\("patient", "GetPatient",.*\n', text, re.MULTILINE)
    return text.replace(row, row + row.replace("GetPatient", "GetPatientSummary").replace("{id}", "{id}/summary"))


def run(checkout: Path, module: str, *arguments: str) -> str:
    """Runs a module in the copy and returns its output. Fails if the module fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, cwd=checkout, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_rpc_is_served_over_grpc_and_rest_and_is_in_the_contract(checkout: Path) -> None:
    folders = ("tests/patient", "tests/e2e")
    tests = [f"{folder}/test_get_patient_summary.py" for folder in folders]
    selected = "get_patient_summary or GetPatientSummary or every_method"
    printed = run(checkout, "pytest", "-q", *tests, "tests/contract/test_names.py", "-k", selected)
    assert "5 passed" in printed


def test_new_rpc_is_in_the_generated_files(checkout: Path) -> None:
    for file in ("gen/openapi.json", "requests/postman/pulsetrack.postman_collection.json"):
        assert "/summary" in (checkout / file).read_text(encoding="utf-8")


def test_new_code_is_formatted_and_linted(checkout: Path) -> None:
    changed = ("services/patient/service.py", "tests/patient", "tests/e2e/test_get_patient_summary.py")
    run(checkout, "ruff", "format", "--check", *changed)
    run(checkout, "ruff", "check", *changed)
