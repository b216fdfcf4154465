"""Traces start at the gateway, which makes the sampling decision."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envoy.config import Address
from services.common.observability.tracing import validate_traceparent
from tests.envoy.gateway import Gateway, has_status, run_gateway
from tests.harness.otlp import Receiver, run_receiver
from tests.harness.waiting import eventually

CLIENT_CONTEXT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}


@contextmanager
def run_traced_gateway(folder: Path, percent: float) -> Iterator[tuple[Gateway, Receiver]]:
    """Runs a gateway that samples a percentage of calls."""
    with run_receiver() as receiver:
        otlp = Address("127.0.0.1", receiver.port)
        with run_gateway(folder, rate_limits=False, otlp=otlp, trace_percent=percent) as gateway:
            eventually(lambda: has_status(gateway.http, "/readyz", 200))
            yield gateway, receiver


def traceparent(gateway: Gateway, **headers: str) -> str:
    """Makes a call and returns the traceparent that the service received."""
    gateway.stubs["patient"].calls.clear()
    eventually(lambda: has_status(gateway.http, "/v1/patients", 200, **gateway.bearer, **headers))
    [call] = gateway.received_calls()
    assert "tracestate" not in call.metadata or not call.metadata["tracestate"]
    return str(call.metadata.get("traceparent", ""))


def test_call_starts_a_trace_that_the_service_continues(tmp_path: Path) -> None:
    with run_traced_gateway(tmp_path, 100) as (gateway, receiver):
        _, trace, span, flags = validate_traceparent(traceparent(gateway)).split("-")
        assert flags == "01"
        [gateway_span] = [
            each for each in receiver.wait_for_trace(trace, ("gateway", "ListPatients")) if not each.parent
        ]
        assert (gateway_span.id, gateway_span.kind) == (span, "SERVER")


def test_unsampled_call_creates_no_span(tmp_path: Path) -> None:
    with run_traced_gateway(tmp_path, 0) as (gateway, receiver):
        _, trace, _, flags = validate_traceparent(traceparent(gateway)).split("-")
        assert (flags, trace == "a" * 32) == ("00", False)
    assert receiver.spans == []


@pytest.mark.parametrize("percent", [0, 100])
def test_client_trace_context_is_ignored(tmp_path: Path, percent: float) -> None:
    with run_traced_gateway(tmp_path, percent) as (gateway, _):
        _, trace, _, flags = validate_traceparent(traceparent(gateway, **CLIENT_CONTEXT)).split("-")
        assert (flags, trace == "a" * 32) == ("01" if percent else "00", False)


def test_no_trace_context_without_collector(gateway: Gateway) -> None:
    assert traceparent(gateway, **CLIENT_CONTEXT) == ""
