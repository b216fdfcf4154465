"""Access log entries, and the data that they omit."""

import json
from pathlib import Path

from tests.envoy.gateway import Gateway
from tests.harness.waiting import eventually


def test_access_log_omits_query_and_token(gateway: Gateway) -> None:
    response = gateway.http.get("/v1/patients?query=Ana", headers=gateway.bearer)
    request_id = response.headers["x-request-id"]
    log = gateway.target.access_log or Path()
    eventually(lambda: request_id in log.read_text())
    (line,) = (text for text in log.read_text().splitlines() if request_id in text)
    entry = json.loads(line)
    assert (entry["method"], entry["path"]) == ("GET", "/v1/patients")
    assert (entry["status"], entry["grpc_status"], entry["service"]) == (200, 0, "patient")
    assert (entry["user_id"], entry["remote_address"]) == ("ana", "127.0.0.1")
    assert "Ana" not in line
    assert "eyJ" not in line  # the prefix of every JWT


def test_readiness_checks_are_not_logged(gateway: Gateway) -> None:
    gateway.http.get("/readyz")
    last = gateway.http.get("/healthz").headers["x-request-id"]
    log = gateway.target.access_log or Path()
    eventually(lambda: last in log.read_text())
    assert "/readyz" not in log.read_text()
