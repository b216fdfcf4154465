"""`make load` against a running system."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.system import NewFolder
from tools.instance import Instance, run_instance
from tools.local.process import ROOT


def run_load(
    folder: Path, *arguments: str, url: str | None = None, **environment: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Runs the load generator, and returns its output and the JSON that it wrote."""
    files = ["--json", str(folder / "load.json"), "--html", str(folder / "load.html")]
    environment = {**os.environ, **({"PULSETRACK_URL": url} if url else {}), **environment}
    command = [sys.executable, "-m", "tools.load", *arguments, *files]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=100
    )
    written = folder / "load.json"
    return result, json.loads(written.read_text()) if written.exists() else {}


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_load_succeeds_over_grpc_and_rest(system: Instance, tmp_path: Path, protocol: str) -> None:
    phases = ("sign-ups", "log-ins", "mixed", "watchers", "lists-at-once")
    result, written = run_load(
        tmp_path, *phases, "--protocol", protocol, "--users", "2", "--seconds", "1", url=system.url
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert [(phase["phase"], phase["count"], phase["errors"]) for phase in written["phases"]] == [
        ("sign-ups", 2, {}),
        ("log-ins", 2, {}),
        ("mixed", 60, {}),
        ("watchers", 10, {}),
        ("lists-at-once", 600, {}),
    ]
    methods = written["phases"][2]["methods"]
    assert set(methods) == {"GetPatient", "ListPatients", "CreatePatient", "UpdatePatient"}
    assert sum(of_method["count"] for of_method in methods.values()) == 60
    page = (tmp_path / "load.html").read_text()
    assert page.count("<svg") == 2 * len(phases)
    assert page.count("<circle") == 2 + 2 + 60 + 10 + 600


def test_exceeded_limit_exits_with_1(system: Instance, tmp_path: Path) -> None:
    result, written = run_load(tmp_path, "mixed", "--seconds", "0.5", "--max-p99-ms", "0.001", url=system.url)
    assert result.returncode == 1
    [failure] = written["failures"]
    assert failure.startswith("mixed: ")
    assert failure.endswith(" p99 ms, at most 0.001 allowed")
    assert f"FAILED {failure}" in result.stdout


@pytest.mark.soak
def test_calls_over_the_rate_limits_fail_and_are_explained(new_folder: NewFolder, tmp_path: Path) -> None:
    with run_instance(new_folder("limited")) as instance:
        result, written = run_load(
            tmp_path, "sign-ups", "--users", "40", PULSETRACK_DATA_DIR=str(instance.folder), PULSETRACK_URL=""
        )
    assert result.returncode == 1
    [phase] = written["phases"]
    assert set(phase["errors"]) == {"429 RATE_LIMITED"}
    assert written["url"] == instance.url
    assert "PULSETRACK_RATE_LIMITS=off make up" in result.stdout.split("sign-ups")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "http://127.0.0.1:1"), "Cannot connect to a gateway at http://127.0.0.1:1: "),
        ((), "PulseTrack is not running. Start it with `make up`, or set PULSETRACK_URL to a gateway's URL."),
    ],
)
def test_missing_gateway_prints_one_line_error(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result, written = run_load(tmp_path, *arguments, PULSETRACK_DATA_DIR=str(tmp_path), PULSETRACK_URL="")
    assert (result.returncode, result.stdout, written) == (1, "", {})
    assert result.stderr.startswith(message)


def test_unknown_phase_is_reported(system: Instance, tmp_path: Path) -> None:
    result, _ = run_load(tmp_path, "mixed", "creats", url=system.url)
    assert result.returncode == 1
    assert result.stderr.startswith("Unknown phase creats. Available phases: ")
