"""WatchPatients through the gateway, over gRPC and as NDJSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from tests.e2e.sessions import Session, a_patient

PATH = "/v1/patients:watch"


@contextmanager
def watch_lines(session: Session, **query: str) -> Iterator[Iterator[dict[str, object]]]:
    """Watches over REST, and yields responses as they arrive."""
    with session.rest.stream("GET", PATH, params=query) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
        yield map(json.loads, response.iter_lines())


def test_rest_watch_sends_each_change_as_a_json_line(user: Session) -> None:
    with watch_lines(user) as responses:
        assert next(responses).keys() == {"resumeToken"}
        for _ in range(3):
            created = user.post("/v1/patients", a_patient())
            response = next(responses)
            assert response["revision"]["patient"] == created  # type: ignore[index]
            assert response["resumeToken"]


def test_resume_tokens_are_valid_across_grpc_and_rest(user: Session) -> None:
    with watch_lines(user) as responses:
        token = str(next(responses)["resumeToken"])
    created = user.post("/v1/patients", a_patient())
    with user.client("patient").watch_patients(WatchPatientsRequest(resume_token=token)) as watch:
        assert next(watch).resume_token == token
        response = next(watch)
        assert response.revision.patient.id == created["id"]
    with watch_lines(user, resumeToken=token) as responses:
        assert next(responses) == {"resumeToken": token}
        assert next(responses)["resumeToken"] == response.resume_token


def test_rejected_watch_has_an_error_status_and_a_reason(user: Session) -> None:
    response = user.rest.get(PATH, params={"resumeToken": "garbage"})
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json")
    assert response.json()["details"][0]["reason"] == "RESUME_TOKEN_INVALID"
