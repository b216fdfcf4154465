"""gRPC and gRPC-Web by grpcurl and buf curl, which ask the system by reflection what there is."""

import json
from base64 import b64decode
from typing import Any

import pytest

from services.common.contract import SERVICES, all_methods
from tests.requests.tool import output, run
from tools.copy import Copy, running

BUF = ("buf", "curl", "--http2-prior-knowledge")
STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
ALL = {*SERVICES.values(), *STANDARD}
VERSIONS = ("grpc-v1", "grpc-v1alpha")


@pytest.mark.parametrize(
    ("tool", "protocol"), [("grpcurl", "grpc"), ("buf", "grpc"), ("buf", "grpcweb")], ids=lambda said: said
)
def test_the_journey(system: Copy, tool: str, protocol: str) -> None:
    run(tool, "--version")  # skips if it is not there
    printed = output("sh", "requests/journey.sh", tool, ADDRESS=f"localhost:{system.port}", PROTOCOL=protocol)
    assert_journey(printed)


def test_the_journey_with_a_user_whom_the_admin_creates(system: Copy) -> None:
    told = {"ADDRESS": f"localhost:{system.port}", "ADMIN_PASSWORD": system.admin_password}
    assert_journey(output("sh", "requests/journey.sh", "buf", **told))


def assert_journey(printed: str) -> None:
    answers = stream_of_json(printed)
    assert "José Pérez" in printed
    assert [answer["billingAccounts"][0]["status"] for answer in answers if "billingAccounts" in answer] == [
        "ACCOUNT_STATUS_ACTIVE"
    ]
    assert [answer["events"][-1]["type"] for answer in answers if "events" in answer] == ["PATIENT_EVENT_TYPE_CREATED"]
    assert int(answers[-1]["totalPatients"]) > 0


@pytest.mark.parametrize("place", ["gateway", *SERVICES])
def test_grpcurl_lists_and_describes_everything_everywhere(system: Copy, place: str) -> None:
    address = f"127.0.0.1:{port_of(system, place)}"
    assert set(output("grpcurl", "-plaintext", address, "list").split()) == ALL
    for method in all_methods():
        name = method.path[1:].replace("/", ".")
        assert f"rpc {method.name} (" in output("grpcurl", "-plaintext", address, "describe", name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("place", ["gateway", *SERVICES])
def test_buf_lists_everything_everywhere_by_both_versions_of_reflection(system: Copy, place: str, version: str) -> None:
    asked = (*BUF, "--protocol", "grpc", "--reflect-protocol", version)
    url = f"http://127.0.0.1:{port_of(system, place)}"
    assert set(output(*asked, "--list-services", url).split()) == ALL
    ours = {method.path[1:] for method in all_methods()}
    assert ours <= set(output(*asked, "--list-methods", url).split())


def test_grpcurl_shows_the_details_of_errors(system: Copy) -> None:
    method = "pulsetrack.patient.v1.PatientService/GetPatient"
    refused = run("grpcurl", "-plaintext", "-d", '{"id": "1"}', f"127.0.0.1:{system.port}", method)
    assert refused.returncode != 0
    assert "Code: Unauthenticated" in refused.stderr
    assert '"reason": "TOKEN_MISSING"' in refused.stderr


@pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
def test_buf_shows_the_details_of_errors(system: Copy, protocol: str) -> None:
    url = f"{system.url}/pulsetrack.patient.v1.PatientService/GetPatient"
    refused = run(*BUF, "--protocol", protocol, "--data", '{"id": "1"}', url)
    assert refused.returncode != 0
    error = json.loads(refused.stderr)
    assert error["code"] == "unauthenticated"
    assert b"TOKEN_MISSING" in b64decode(error["details"][0]["value"] + "==")


def test_grpc_web_works_over_http_1_with_the_committed_descriptors(system: Copy) -> None:
    url = f"{system.url}/pulsetrack.auth.v1.AuthService/GetJwks"
    asked = ("buf", "curl", "--protocol", "grpcweb", "--schema", "gen/descriptors.binpb")
    assert json.loads(output(*asked, url))["contentType"] == "application/json"


def test_reflection_that_is_switched_off_is_closed_to_the_tools(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("closed") / "data", PULSETRACK_REFLECTION="off") as copy:
        for place in ("gateway", *SERVICES):
            asked = run("grpcurl", "-plaintext", f"127.0.0.1:{port_of(copy, place)}", "list")
            assert (asked.returncode != 0, asked.stdout) == (True, ""), place


def port_of(system: Copy, place: str) -> int:
    return system.port if place == "gateway" else system.state().ports[place]


def stream_of_json(printed: str) -> list[dict[str, Any]]:
    decoder, found, place = json.JSONDecoder(), [], 0
    while (place := printed.find("{", place)) >= 0:
        answer, place = decoder.raw_decode(printed, place)
        found.append(answer)
    return found
