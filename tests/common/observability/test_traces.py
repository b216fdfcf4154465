"""Tests the traces that a receiver gets from a running system."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.e2e.sessions import Session, a_patient
from tests.harness.otlp import Receiver, Span
from tests.harness.waiting import eventually
from tools.instance import Instance
from tools.local.process import ROOT

RPC = "pulsetrack.{}.v1.{}Service/{}".format
LIST = RPC("patient", "Patient", "ListPatients")
CREATE, OPEN = RPC("patient", "Patient", "CreatePatient"), RPC("billing", "Billing", "BatchFollowPatients")
SEND, PROCESS = "send patient.events.v1", "process patient.events.v1"
LAST = (("patient", CREATE), ("patient", OPEN), ("billing", OPEN), ("analytics", PROCESS))


def wait_for_trace(receiver: Receiver, response: httpx.Response, *ends: tuple[str, str]) -> list[Span]:
    """Waits for the gateway's span of a call and other spans, given by service and name. Returns the trace."""
    request_id = response.headers["x-request-id"]

    def find_gateway_spans() -> list[Span]:
        found = [span for span in receiver.spans if span.attributes.get("guid:x-request-id") == request_id]
        if not found:
            httpx.get(response.url.join("/.well-known/jwks.json"))  # Envoy exports spans once it has five, or after 5 s
        return found

    return receiver.wait_for_trace(eventually(find_gateway_spans)[0].trace, *ends)


def build_path(trace: list[Span], span: Span) -> list[tuple[str, str, str]]:
    """Returns the path to a span from the root of its trace."""
    by_id = {each.id: each for each in trace}
    path = []
    while True:
        path.append((span.service, span.kind, span.name))
        if not span.parent:
            return path[::-1]
        span = by_id[span.parent]


def get_span(trace: list[Span], service: str, name: str, kind: str = "CLIENT") -> Span:
    [found] = [span for span in trace if (span.service, span.name, span.kind) == (service, name, kind)]
    return found


@pytest.fixture(scope="module")
def created(receiver: Receiver, user: Session) -> list[Span]:
    """The trace of a create. Not that of the first create, which also fetches keys and a token."""
    first = user.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    wait_for_trace(receiver, first, *LAST)
    response = user.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    return wait_for_trace(receiver, response, *LAST)


STORE = "INSERT patients, INSERT revisions, INSERT access_events, INSERT outbox"
ROOT_PATH = [("gateway", "SERVER", "CreatePatient"), ("patient", "SERVER", CREATE)]
PUBLISH_PATH = [*ROOT_PATH, ("patient", "PRODUCER", SEND), ("analytics", "CONSUMER", PROCESS)]
ACCOUNT_PATH = [*ROOT_PATH, ("patient", "CLIENT", OPEN), ("billing", "SERVER", OPEN)]


def test_create_is_stored_in_the_trace_of_the_gateway(created: list[Span]) -> None:
    statement = get_span(created, "patient", STORE)
    assert build_path(created, statement) == [*ROOT_PATH, ("patient", "CLIENT", STORE)]


@pytest.mark.parametrize("table", ["events", "patients"])
def test_analytics_stores_the_event_in_the_same_trace(created: list[Span], table: str) -> None:
    statement = get_span(created, "analytics", f"INSERT {table}")
    assert build_path(created, statement) == [*PUBLISH_PATH, ("analytics", "CLIENT", f"INSERT {table}")]


def test_billing_opens_the_account_in_the_same_trace(created: list[Span]) -> None:
    statement = get_span(created, "billing", "INSERT accounts")
    assert build_path(created, statement) == [*ACCOUNT_PATH, ("billing", "CLIENT", "INSERT accounts")]


def test_trace_matches_the_documentation(created: list[Span]) -> None:
    document = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```trace\n.*?\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    path: list[tuple[str, ...]] = []
    documented = []
    for line in block.splitlines():
        indented, *_ = re.split(r"\s+\d+\.\d", line)
        path = [*path[: (len(line) - len(line.lstrip())) // 2], tuple(indented.split(maxsplit=2))]
        documented.append(path)
    assert sorted(documented) == sorted(build_path(created, span) for span in created)


def test_each_event_of_a_batch_is_in_the_trace_of_its_create(receiver: Receiver, user: Session) -> None:
    with ThreadPoolExecutor(10) as threads:
        bodies = [a_patient() for _ in range(30)]
        responses = list(threads.map(lambda body: user.rest.post("/v1/patients", json=body), bodies))
    for response in responses:
        trace = wait_for_trace(receiver, response.raise_for_status(), ("analytics", PROCESS))
        assert build_path(trace, get_span(trace, "analytics", PROCESS, "CONSUMER")) == PUBLISH_PATH


def test_client_error_does_not_mark_the_span_as_failed(receiver: Receiver, user: Session) -> None:
    body = a_patient()
    user.rest.post("/v1/patients", json=body).raise_for_status()
    trace = wait_for_trace(receiver, user.rest.post("/v1/patients", json=body), ("patient", CREATE))
    call, statement = get_span(trace, "patient", CREATE, "SERVER"), get_span(trace, "patient", STORE)
    assert (call.failed, call.attributes["rpc.response.status_code"]) == (False, "ALREADY_EXISTS")
    assert (statement.failed, statement.attributes["error.type"]) == (True, "UniqueViolationError")


def test_call_without_a_token_ends_at_the_gateway(receiver: Receiver, system: Instance) -> None:
    response = httpx.get(f"{system.url}/v1/patients")
    [span] = wait_for_trace(receiver, response)
    assert (span.service, span.name, span.attributes["http.status_code"]) == ("gateway", "ListPatients", "401")


def test_telemetry_contains_no_patient_data(receiver: Receiver, user: Session) -> None:
    secrets = {name: f"{name}{uuid4().hex}" for name in ("name", "address", "medicalRecordNumber")}
    secrets |= {"email": f"{uuid4().hex}@clinic.test", "phone": f"+{uuid4().int}"[:20]}
    patient = user.post("/v1/patients", a_patient(**secrets))
    path = f"/v1/patients/{patient['id']}"
    responses = [
        user.rest.post(
            "/v1/patients", json=a_patient(email=secrets["email"])
        ),  # the database error contains the email address
        user.rest.post("/v1/patients", json=a_patient(name=secrets["name"] * 9)),
        user.rest.get("/v1/patients", params={"query": secrets["name"]}),
        user.rest.patch(path, json={"address": secrets["address"]}),
        user.rest.get(path),
    ]
    for response in responses:
        wait_for_trace(receiver, response)
    received = b"".join(receiver.raw)
    assert [name for name, value in secrets.items() if value.encode() in received] == []
    assert patient["id"].encode() not in received


def test_access_log_contains_the_trace_id(receiver: Receiver, user: Session, system: Instance) -> None:
    response = user.rest.get("/v1/patients")
    [span, *_] = wait_for_trace(receiver, response, ("patient", LIST))
    log = system.folder / "logs" / "access.log"
    assert eventually(lambda: f'"trace_id":"{span.trace}"' in log.read_text(encoding="utf-8"))
