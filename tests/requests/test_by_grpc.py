"""Tests gRPC and gRPC-Web with grpcurl and buf curl, which use server reflection."""

import json
from base64 import b64decode
from typing import Any

import pytest

from services.common.protobuf.contract import SERVICES, all_methods
from tests.requests.tool import output, run
from tools.instance import Instance

BUF = ("buf", "curl", "--http2-prior-knowledge")
STANDARD = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
ALL = {*SERVICES.values(), *STANDARD}
VERSIONS = ("grpc-v1", "grpc-v1alpha")


@pytest.mark.parametrize(("tool", "protocol"), [("grpcurl", "grpc"), ("buf", "grpc"), ("buf", "grpcweb")], ids=str)
def test_journey_succeeds(system: Instance, tool: str, protocol: str) -> None:
    run(tool, "--version")  # skips the test if the tool is not installed
    printed = output("sh", "requests/journey.sh", tool, ADDRESS=f"localhost:{system.port}", PROTOCOL=protocol)
    assert_journey(printed)


def test_journey_succeeds_with_a_user_created_by_the_admin(system: Instance) -> None:
    variables = {"ADDRESS": f"localhost:{system.port}", "ADMIN_PASSWORD": system.admin_password}
    assert_journey(output("sh", "requests/journey.sh", "buf", **variables))


def assert_journey(printed: str) -> None:
    responses = parse_json_stream(printed)
    assert "José Pérez" in printed
    assert [body["billingAccounts"][0]["status"] for body in responses if "billingAccounts" in body] == [
        "ACCOUNT_STATUS_ACTIVE"
    ]
    assert [body["events"][-1]["type"] for body in responses if "events" in body] == ["PATIENT_EVENT_TYPE_CREATED"]
    assert int(responses[-1]["totalPatients"]) > 0


@pytest.mark.parametrize("endpoint", ["gateway", *SERVICES])
def test_grpcurl_lists_and_describes_all_methods_on_every_endpoint(system: Instance, endpoint: str) -> None:
    address = f"127.0.0.1:{find_port(system, endpoint)}"
    assert set(output("grpcurl", "-plaintext", address, "list").split()) == ALL
    described = {each: output("grpcurl", "-plaintext", address, "describe", each) for each in SERVICES.values()}
    for method in all_methods():
        service, _, name = method.path[1:].partition("/")
        assert f"rpc {name} (" in described[service]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("endpoint", ["gateway", *SERVICES])
def test_buf_lists_all_methods_with_both_reflection_versions(system: Instance, endpoint: str, version: str) -> None:
    command = (*BUF, "--protocol", "grpc", "--reflect-protocol", version)
    url = f"http://127.0.0.1:{find_port(system, endpoint)}"
    assert set(output(*command, "--list-services", url).split()) == ALL
    expected = {method.path[1:] for method in all_methods()}
    assert expected <= set(output(*command, "--list-methods", url).split())


def test_grpcurl_shows_the_details_of_errors(system: Instance) -> None:
    method = "pulsetrack.patient.v1.PatientService/GetPatient"
    rejected = run("grpcurl", "-plaintext", "-d", '{"id": "1"}', f"127.0.0.1:{system.port}", method)
    assert rejected.returncode != 0
    assert "Code: Unauthenticated" in rejected.stderr
    assert '"reason": "TOKEN_MISSING"' in rejected.stderr


@pytest.mark.parametrize("protocol", ["grpc", "grpcweb"])
def test_buf_shows_the_details_of_errors(system: Instance, protocol: str) -> None:
    url = f"{system.url}/pulsetrack.patient.v1.PatientService/GetPatient"
    rejected = run(*BUF, "--protocol", protocol, "--data", '{"id": "1"}', url)
    assert rejected.returncode != 0
    error = json.loads(rejected.stderr)
    assert error["code"] == "unauthenticated"
    assert b"TOKEN_MISSING" in b64decode(error["details"][0]["value"] + "==")


def test_grpc_web_works_over_http_1_with_the_committed_descriptors(system: Instance) -> None:
    url = f"{system.url}/pulsetrack.auth.v1.AuthService/GetJwks"
    command = ("buf", "curl", "--protocol", "grpcweb", "--schema", "gen/descriptors.binpb")
    assert json.loads(output(*command, url))["contentType"] == "application/json"


def find_port(system: Instance, endpoint: str) -> int:
    return system.port if endpoint == "gateway" else system.state().ports[endpoint]


def parse_json_stream(printed: str) -> list[dict[str, Any]]:
    decoder, values, position = json.JSONDecoder(), [], 0
    while (position := printed.find("{", position)) >= 0:
        value, position = decoder.raw_decode(printed, position)
        values.append(value)
    return values
