"""Traces, as a receiver gets them from a whole system."""

import httpx
import pytest

from tests.e2e.people import Person, a_patient
from tests.harness.otlp import Receiver, Span
from tests.harness.waiting import eventually

RPC = "pulsetrack.{}.v1.{}Service/{}".format
CREATE, OPEN = RPC("patient", "Patient", "CreatePatient"), RPC("billing", "Billing", "CreateBillingAccount")
SEND, PROCESS = "send patient.events.v1", "process patient.events.v1"
LAST = (("patient", CREATE), ("patient", OPEN), ("billing", OPEN), ("analytics", PROCESS))


def trace_of(receiver: Receiver, answer: httpx.Response, *ends: tuple[str, str]) -> list[Span]:
    """Waits for the spans of a call, the gateway's and others by service and name, and returns its trace."""
    request_id = answer.headers["x-request-id"]

    def begun() -> list[Span]:
        return [span for span in receiver.spans if span.attributes.get("guid:x-request-id") == request_id]

    return receiver.trace(eventually(begun)[0].trace, *ends)


def parents(trace: list[Span], span: Span) -> list[tuple[str, str, str]]:
    """Returns what led to a span, from the beginning of its trace."""
    by_id = {each.id: each for each in trace}
    path = []
    while True:
        path.append((span.service, span.kind, span.name))
        if not span.parent:
            return path[::-1]
        span = by_id[span.parent]


def the(trace: list[Span], service: str, name: str, kind: str = "CLIENT") -> Span:
    [found] = [span for span in trace if (span.service, span.name, span.kind) == (service, name, kind)]
    return found


@pytest.fixture(scope="module")
def created(receiver: Receiver, user: Person) -> list[Span]:
    """The trace of a create."""
    answer = user.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    return trace_of(receiver, answer, *LAST)


BEGIN = [("gateway", "SERVER", "CreatePatient"), ("patient", "SERVER", CREATE)]
PUBLISHED = [*BEGIN, ("patient", "PRODUCER", SEND), ("analytics", "CONSUMER", PROCESS)]
OPENED = [*BEGIN, ("patient", "CLIENT", OPEN), ("billing", "SERVER", OPEN)]


@pytest.mark.parametrize("table", ["patients", "revisions", "outbox"])
def test_a_create_is_stored_in_the_trace_that_the_gateway_began(created: list[Span], table: str) -> None:
    statement = the(created, "patient", f"INSERT {table}")
    assert parents(created, statement) == [*BEGIN, ("patient", "CLIENT", f"INSERT {table}")]


@pytest.mark.parametrize("table", ["events", "patients"])
def test_its_event_is_stored_by_analytics_in_the_same_trace(created: list[Span], table: str) -> None:
    statement = the(created, "analytics", f"INSERT {table}")
    assert parents(created, statement) == [*PUBLISHED, ("analytics", "CLIENT", f"INSERT {table}")]


def test_its_account_is_opened_by_billing_in_the_same_trace(created: list[Span]) -> None:
    statement = the(created, "billing", "INSERT accounts")
    assert parents(created, statement) == [*OPENED, ("billing", "CLIENT", "INSERT accounts")]
