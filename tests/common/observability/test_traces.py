"""Traces, as a receiver gets them from a whole system."""

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
CREATE, OPEN = RPC("patient", "Patient", "CreatePatient"), RPC("billing", "Billing", "CreateBillingAccount")
SEND, PROCESS = "send patient.events.v1", "process patient.events.v1"
LAST = (("patient", CREATE), ("patient", OPEN), ("billing", OPEN), ("analytics", PROCESS))


def trace_of(receiver: Receiver, answer: httpx.Response, *ends: tuple[str, str]) -> list[Span]:
    """Waits for the spans of a call, the gateway's and others by service and name, and returns its trace."""
    request_id = answer.headers["x-request-id"]

    def begun() -> list[Span]:
        found = [span for span in receiver.spans if span.attributes.get("guid:x-request-id") == request_id]
        if not found:
            httpx.get(answer.url.join("/.well-known/jwks.json"))  # Envoy sends spans once it has five, or after 5 s
        return found

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
def created(receiver: Receiver, user: Session) -> list[Span]:
    """The trace of a create, but not the first one, which fetches keys and a token."""
    first = user.rest.post("/v1/patients", json=a_patient()).raise_for_status()
    trace_of(receiver, first, *LAST)
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


def test_the_trace_is_as_it_is_documented(created: list[Span]) -> None:
    document = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```trace\n.*?\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    path: list[tuple[str, ...]] = []
    documented = []
    for line in block.splitlines():
        indented, *_ = re.split(r"\s+\d+\.\d", line)
        path = [*path[: (len(line) - len(line.lstrip())) // 2], tuple(indented.split(maxsplit=2))]
        documented.append(path)
    assert sorted(documented) == sorted(parents(created, span) for span in created)


def test_each_event_of_a_batch_is_in_the_trace_of_its_create(receiver: Receiver, user: Session) -> None:
    with ThreadPoolExecutor(10) as threads:
        bodies = [a_patient() for _ in range(30)]
        answers = list(threads.map(lambda body: user.rest.post("/v1/patients", json=body), bodies))
    for answer in answers:
        trace = trace_of(receiver, answer.raise_for_status(), ("analytics", PROCESS))
        assert parents(trace, the(trace, "analytics", PROCESS, "CONSUMER")) == PUBLISHED


def test_what_the_caller_did_wrong_is_no_failure_of_the_service(receiver: Receiver, user: Session) -> None:
    body = a_patient()
    user.rest.post("/v1/patients", json=body).raise_for_status()
    trace = trace_of(receiver, user.rest.post("/v1/patients", json=body), ("patient", CREATE))
    call, statement = the(trace, "patient", CREATE, "SERVER"), the(trace, "patient", "INSERT patients")
    assert (call.failed, call.attributes["rpc.response.status_code"]) == (False, "ALREADY_EXISTS")
    assert (statement.failed, statement.attributes["error.type"]) == (True, "UniqueViolationError")


def test_a_call_without_a_token_ends_at_the_gateway(receiver: Receiver, system: Instance) -> None:
    answer = httpx.get(f"{system.url}/v1/patients")
    [span] = trace_of(receiver, answer)
    assert (span.service, span.name, span.attributes["http.status_code"]) == ("gateway", "ListPatients", "401")


def test_nothing_of_a_patient_leaves_the_system(receiver: Receiver, user: Session) -> None:
    secrets = {name: f"{name}{uuid4().hex}" for name in ("name", "address", "medicalRecordNumber")}
    secrets |= {"email": f"{uuid4().hex}@clinic.test", "phone": f"+{uuid4().int}"[:20]}
    patient = user.post("/v1/patients", a_patient(**secrets))
    path = f"/v1/patients/{patient['id']}"
    calls = [
        user.rest.post("/v1/patients", json=a_patient(email=secrets["email"])),  # the error knows the email
        user.rest.post("/v1/patients", json=a_patient(name=secrets["name"] * 9)),
        user.rest.get("/v1/patients", params={"query": secrets["name"]}),
        user.rest.patch(path, json={"address": secrets["address"]}),
        user.rest.get(path),
    ]
    for answer in calls:
        trace_of(receiver, answer)
    arrived = b"".join(receiver.raw)
    assert [name for name, value in secrets.items() if value.encode() in arrived] == []
    assert patient["id"].encode() not in arrived


def test_a_line_of_the_access_log_names_the_trace(receiver: Receiver, user: Session, system: Instance) -> None:
    answer = user.rest.get("/v1/patients")
    [span, *_] = trace_of(receiver, answer, ("patient", LIST))
    log = system.folder / "logs" / "access.log"
    assert eventually(lambda: f'"trace_id":"{span.trace}"' in log.read_text(encoding="utf-8"))
