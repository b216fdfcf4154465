"""FollowPatient: the account follows its patient, regardless of the order of events."""

from dataclasses import replace
from functools import partial
from itertools import permutations
from uuid import UUID

import pytest

from gen.pulsetrack.billing.v1 import AccountStatus, GetBillingAccountRequest, ListBillingAccountsRequest
from tests.billing.factory import create_request, follow_request
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently


def test_deletion_closes_and_undeletion_reopens_the_account(billing: Client, service: Client) -> None:
    opened = service.create_billing_account(request := create_request())
    closed = service.follow_patient(follow_request(request, 2, deleted=True))
    assert closed == replace(opened, status=AccountStatus.CLOSED)
    assert billing.get_billing_account(GetBillingAccountRequest(id=opened.id)) == closed
    assert service.follow_patient(follow_request(request, 3, deleted=False)) == opened


def test_deletion_that_arrives_before_the_creation_leaves_the_account_closed(service: Client) -> None:
    request = create_request()
    closed = service.follow_patient(follow_request(request, 2, deleted=True))
    assert (closed.patient_id, closed.name, closed.email) == (request.patient_id, request.name, request.email)
    assert closed.status is AccountStatus.CLOSED
    assert UUID(closed.id).version == 7
    assert service.create_billing_account(request) == closed


@pytest.mark.parametrize("last_deleted", [True, False], ids=["deleted", "undeleted"])
@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
def test_newest_event_wins_in_any_order_and_when_repeated(
    billing: Client, service: Client, order: tuple[int, ...], *, last_deleted: bool
) -> None:
    request = create_request()
    calls = [
        partial(service.create_billing_account, request),
        *(
            partial(
                service.follow_patient, follow_request(request, 12 - number, deleted=last_deleted is (number % 2 == 0))
            )
            for number in range(3)
        ),
    ]
    for number in (*order, *order):
        calls[number]()
    [account] = billing.list_billing_accounts(
        ListBillingAccountsRequest(patient_id=request.patient_id)
    ).billing_accounts
    assert account.status is (AccountStatus.CLOSED if last_deleted else AccountStatus.ACTIVE)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_name_and_email_are_those_of_the_newest_event(service: Client, order: tuple[int, ...]) -> None:
    opened = create_request()
    corrected = replace(opened, name="Ana Costa", email="ana.costa@clinic.test")
    calls = [
        partial(service.create_billing_account, opened),
        partial(service.follow_patient, follow_request(opened, 2, deleted=True)),
        partial(service.follow_patient, follow_request(corrected, 3, deleted=False)),
    ]
    for number in order:
        calls[number]()
    account = service.create_billing_account(opened)
    assert (account.name, account.email) == (corrected.name, corrected.email)


def test_newest_of_concurrent_events_wins(billing: Client, service: Client) -> None:
    request = create_request()
    events = [follow_request(request, number, deleted=number % 2 == 0) for number in range(2, 17)]
    calls = [partial(service.follow_patient, each) for each in events]
    _, rejected = call_concurrently([*calls, partial(service.create_billing_account, request)])
    assert not rejected
    [account] = billing.list_billing_accounts(
        ListBillingAccountsRequest(patient_id=request.patient_id)
    ).billing_accounts
    assert account.status is AccountStatus.CLOSED


def test_only_services_can_call(billing: Client, admin: Client) -> None:
    for caller in (billing, admin):
        with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
            caller.follow_patient(follow_request(create_request(), 2, deleted=True))


@pytest.mark.parametrize(
    ("field", "value"), [("patient_id", "42"), ("name", ""), ("email", "x" * 255), ("sequence", 0), ("sequence", -1)]
)
def test_invalid_field_is_reported_by_its_path(service: Client, field: str, value: object) -> None:
    request = replace(follow_request(create_request(), 2, deleted=True), **{field: value})  # type: ignore[arg-type]
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        service.follow_patient(request)
    assert list(rejected.value.violations) == [field]
