"""Few searches run at once, which leaves database connections to other calls."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from grpc import StatusCode

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from gen.pulsetrack.patient.v1 import ListPatientsRequest, Sex
from services.patient.listing import CONCURRENT_SEARCHES
from tests.harness.client import Client, Rejected, attempt
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tests.patient.factory import create_request

SEARCHES = 14
"""More than the connections in the pool."""


@pytest.mark.parametrize(
    "search", [ListPatientsRequest(query="ana"), ListPatientsRequest(sex=Sex.MALE)], ids=["query", "filter"]
)
def test_slow_searches_leave_connections_for_other_calls(
    patients: Client, admin: Client, sql: Sql, search: ListPatientsRequest
) -> None:
    created = patients.create_patient(create_request())
    with ThreadPoolExecutor(SEARCHES) as threads, sql.hold_locks("LOCK TABLE patients"):
        searches = [threads.submit(attempt, partial(patients.list_patients, search)) for _ in range(SEARCHES)]
        eventually(lambda: sum(each.done() for each in searches) == SEARCHES - CONCURRENT_SEARCHES)
        rejected = [each.result() for each in searches if each.done()]
        events = admin.search_patient_access_events(SearchAccessEventsRequest(subject_id=created.id)).access_events
    assert [event.subject_ids for event in events] == [[created.id]]
    assert all(isinstance(each, Rejected) for each in rejected)
    assert {(each.code, each.reason, each.retry_after) for each in rejected} == {
        (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 1)
    }
    successful = [each.result() for each in searches if not isinstance(each.result(), Rejected)]
    assert len(successful) == CONCURRENT_SEARCHES
