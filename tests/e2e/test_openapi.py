"""gen/openapi.json describes a running instance: Schemathesis sends generated requests and checks the responses.

Fix findings in the protos, the gateway or a service. schemathesis_checks.py has the rules beyond JSON Schema.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.protobuf.contract import all_methods
from tests.e2e.sessions import Session
from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance
from tools.local.process import ROOT

HERE = Path(__file__).parent


@pytest.fixture
def system(new_folder: NewFolder) -> Iterator[Instance]:
    """A separate instance, because generated requests would affect other tests."""
    with run_instance(new_folder("tried"), PULSETRACK_RATE_LIMITS="off") as instance:
        yield instance


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("phases", "examples", "least"),
    [
        ("examples,fuzzing", 3, 200),
        pytest.param("examples,coverage,fuzzing,stateful", 25, 1000, marks=pytest.mark.soak),
    ],
    ids=["quick", "all"],
)
def test_responses_match_the_openapi_document(
    system: Instance, tmp_path: Path, phases: str, examples: int, least: int
) -> None:
    st = [str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml")]
    with Session.log_in(system, "admin@pulsetrack.local", system.admin_password) as admin:
        run = ["run", f"{system.url}/openapi.json", "--header", f"Authorization: Bearer {admin.token}", "--no-color"]
    run += ["--phases", phases, "--max-examples", str(examples)]
    for stream in (method.name for method in all_methods() if method.streams):  # Schemathesis waits until a stream ends
        run += ["--exclude-operation-id", stream]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_checks"}
    done = subprocess.run([*st, *run], check=False, capture_output=True, cwd=tmp_path, env=environment, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [cases] = re.findall(r"(\d+) generated", done.stdout)
    assert int(cases) > least
    assert "❌" not in done.stdout
