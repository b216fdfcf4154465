"""Tests that newman and httpyac run the sample requests successfully."""

import json

import pytest

from services.common.protobuf.contract import SERVICES
from tests.requests.tool import output, run
from tools.instance import Instance
from tools.postman import read_requests

COUNT = sum(1 for name in SERVICES for _ in read_requests(name))


def newman(system: Instance, password: str) -> tuple[str, ...]:
    return (
        *("newman", "run", "requests/postman/pulsetrack.postman_collection.json"),
        *("--environment", "requests/postman/local.postman_environment.json"),
        *("--env-var", f"url={system.url}", "--env-var", f"adminPassword={password}", "--disable-unicode"),
    )


def httpyac(system: Instance, password: str) -> tuple[str, ...]:
    files = (f"requests/{name}.http" for name in SERVICES)
    return (
        *("httpyac", "send", *files, "--all", "--env", "local", "--json", "--output", "none"),
        *("--var", f"url={system.url}", f"adminPassword={password}"),
    )


def test_newman_runs_the_postman_collection(system: Instance) -> None:
    printed = output(*newman(system, system.admin_password))
    assert f"| requests | {COUNT} | 0 |" in " ".join(printed.replace("|", " | ").split())


@pytest.mark.soak
def test_httpyac_runs_the_http_files(system: Instance) -> None:
    printed = output(*httpyac(system, system.admin_password))
    summary = json.loads(printed[printed.index("{") :])["summary"]
    assert (summary["totalRequests"], summary["successRequests"]) == (COUNT, COUNT)


@pytest.mark.soak
def test_both_tools_fail_if_a_response_is_not_as_expected(system: Instance) -> None:
    assert run(*newman(system, "a wrong password")).returncode != 0
    assert run(*httpyac(system, "a wrong password")).returncode != 0
