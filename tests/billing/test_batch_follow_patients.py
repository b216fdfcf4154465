"""BatchFollowPatients: valid events are applied together, and each invalid event has its own status."""

from dataclasses import replace
from functools import partial
from itertools import permutations

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.error_details_pb2 import BadRequest

from gen.pulsetrack.billing.v1 import (
    AccountStatus,
    BatchFollowPatientsRequest,
    BatchFollowPatientsResponse,
    BillingAccount,
    FollowPatientRequest,
    ListBillingAccountsRequest,
)
from tests.billing.factory import create_request, follow_request
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently


def list_accounts(billing: Client, patient_id: str) -> list[BillingAccount]:
    listed = billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=patient_id))
    return list(listed.billing_accounts)


def follow(service: Client, *events: FollowPatientRequest) -> BatchFollowPatientsResponse:
    response: BatchFollowPatientsResponse = service.batch_follow_patients(
        BatchFollowPatientsRequest(requests=list(events))
    )
    return response


def test_batch_opens_and_updates_accounts(billing: Client, service: Client) -> None:
    opened = service.create_billing_account(known := create_request())
    new = create_request(name="Rui Costa")
    response = follow(service, follow_request(new, 1, deleted=False), follow_request(known, 2, deleted=True))
    assert response == BatchFollowPatientsResponse()
    [account] = list_accounts(billing, new.patient_id)
    assert (account.name, account.email, account.status) == (new.name, new.email, AccountStatus.ACTIVE)
    assert list_accounts(billing, known.patient_id) == [replace(opened, status=AccountStatus.CLOSED)]


def test_repeated_batch_changes_nothing(billing: Client, service: Client) -> None:
    event = follow_request(create_request(), 1, deleted=False)
    follow(service, event)
    before = list_accounts(billing, event.patient_id)
    assert follow(service, event) == BatchFollowPatientsResponse()
    assert list_accounts(billing, event.patient_id) == before


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_newest_event_of_a_patient_in_a_batch_wins(billing: Client, service: Client, order: tuple[int, ...]) -> None:
    request = create_request()
    events = [
        follow_request(request, 1, deleted=False),
        follow_request(replace(request, name="Ana Costa"), 2, deleted=False),
        follow_request(replace(request, name="Ana Costa Silva"), 3, deleted=True),
    ]
    follow(service, *(events[number] for number in order))
    [account] = list_accounts(billing, request.patient_id)
    assert (account.name, account.status) == ("Ana Costa Silva", AccountStatus.CLOSED)


def test_older_event_in_a_batch_changes_nothing(billing: Client, service: Client) -> None:
    request = create_request()
    follow(service, follow_request(request, 3, deleted=True))
    follow(service, follow_request(replace(request, name="Old Name"), 2, deleted=False))
    [account] = list_accounts(billing, request.patient_id)
    assert (account.name, account.status) == (request.name, AccountStatus.CLOSED)


@pytest.mark.parametrize(
    ("field", "value"), [("patient_id", "42"), ("name", ""), ("email", "x" * 255), ("sequence", 0), ("sequence", -1)]
)
def test_invalid_event_has_a_status_and_does_not_affect_the_others(
    billing: Client, service: Client, field: str, value: object
) -> None:
    first, invalid, last = (follow_request(create_request(), 1, deleted=False) for _ in range(3))
    response = follow(service, first, replace(invalid, **{field: value}), last)  # type: ignore[arg-type]
    [(index, status)] = response.failed_requests.items()
    assert (index, status.code) == (1, INVALID_ARGUMENT)
    [violations] = [each.value for each in status.details if each.type_url.endswith("google.rpc.BadRequest")]
    assert [each.field for each in BadRequest.FromString(violations).field_violations] == [field]
    assert all(list_accounts(billing, event.patient_id) for event in (first, last))
    assert not list_accounts(billing, invalid.patient_id)


def test_batch_of_invalid_events_is_accepted(service: Client) -> None:
    assert list(follow(service, FollowPatientRequest(), FollowPatientRequest()).failed_requests) == [0, 1]


@pytest.mark.parametrize("size", [0, 101])
def test_batch_size_is_limited(service: Client, size: int) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        follow(service, *[follow_request(create_request(), 1, deleted=False)] * size)
    assert list(rejected.value.violations) == ["requests"]


def test_concurrent_batches_in_different_orders_do_not_deadlock(billing: Client, service: Client) -> None:
    events = [follow_request(create_request(), 1, deleted=False) for _ in range(50)]
    batches = [[replace(event, sequence=number) for event in events][:: (-1) ** number] for number in range(1, 17)]
    _, rejected = call_concurrently([partial(follow, service, *batch) for batch in batches])
    assert not rejected
    assert all(len(list_accounts(billing, event.patient_id)) == 1 for event in events[:5])


def test_only_services_can_call(billing: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        follow(billing, follow_request(create_request(), 1, deleted=False))
