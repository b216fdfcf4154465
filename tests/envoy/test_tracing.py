"""Where traces begin, and who decides which of them are sampled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envoy.config import Address
from services.common.observability.tracing import validate_traceparent
from tests.envoy.gateway import Gateway, answers, running
from tests.harness.otlp import Receiver, run_receiver
from tests.harness.waiting import eventually

CLIENTS = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}


@contextmanager
def traced(folder: Path, percent: float) -> Iterator[tuple[Gateway, Receiver]]:
    """Runs a gateway that samples so many of a hundred calls."""
    with run_receiver() as receiver:
        otlp = Address("127.0.0.1", receiver.port)
        with running(folder, rate_limits=False, otlp=otlp, trace_percent=percent) as gateway:
            eventually(lambda: answers(gateway.http, "/readyz", 200))
            yield gateway, receiver


def traceparent(gateway: Gateway, **headers: str) -> str:
    """Makes a call and returns the traceparent that reached the service."""
    gateway.stubs["patient"].calls.clear()
    eventually(lambda: answers(gateway.http, "/v1/patients", 200, **gateway.bearer, **headers))
    [call] = gateway.arrived()
    assert "tracestate" not in call.metadata or not call.metadata["tracestate"]
    return str(call.metadata.get("traceparent", ""))


def test_a_call_begins_a_trace_that_goes_on_in_the_service(tmp_path: Path) -> None:
    with traced(tmp_path, 100) as (gateway, receiver):
        _, trace, span, flags = validate_traceparent(traceparent(gateway)).split("-")
        assert flags == "01"
        [sent] = [each for each in receiver.trace(trace, ("gateway", "ListPatients")) if not each.parent]
        assert (sent.id, sent.kind) == (span, "SERVER")


def test_a_call_that_is_not_sampled_leaves_no_span(tmp_path: Path) -> None:
    with traced(tmp_path, 0) as (gateway, receiver):
        _, trace, _, flags = validate_traceparent(traceparent(gateway)).split("-")
        assert (flags, trace == "a" * 32) == ("00", False)
    assert receiver.spans == []


@pytest.mark.parametrize("percent", [0, 100])
def test_a_clients_trace_is_not_taken_up(tmp_path: Path, percent: float) -> None:
    with traced(tmp_path, percent) as (gateway, _):
        _, trace, _, flags = validate_traceparent(traceparent(gateway, **CLIENTS)).split("-")
        assert (flags, trace == "a" * 32) == ("01" if percent else "00", False)


def test_without_a_receiver_no_trace_reaches_a_service(gateway: Gateway) -> None:
    assert traceparent(gateway, **CLIENTS) == ""
