"""Tests SearchBillingAccessEvents and the access events of each billing method."""

import json
from typing import Any

import pytest

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, ServiceAccessEvent
from gen.pulsetrack.billing.v1 import (
    BatchFollowPatientsRequest,
    BillingAccount,
    CloseBillingAccountRequest,
    CreateBillingAccountRequest,
    GetBillingAccountRequest,
    ListBillingAccountsRequest,
)
from tests.billing.factory import create_request, follow_request
from tests.harness.audit import summarize, wait_for_events
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID

SERVICE_ID = "patient"


@pytest.fixture
def request_() -> CreateBillingAccountRequest:
    return create_request()


@pytest.fixture
def account(service: Client, request_: CreateBillingAccountRequest) -> BillingAccount:
    """An account that the patient service has opened."""
    account: BillingAccount = service.create_billing_account(request_)
    return account


def find_events(admin: Client, account: BillingAccount, count: int) -> list[ServiceAccessEvent]:
    """Waits for events about the patient of an account and returns them, oldest first."""
    return wait_for_events(admin, "search_billing_access_events", count, subject_id=account.patient_id)


def test_every_call_records_an_event_about_the_patient(
    billing: Client, service: Client, admin: Client, account: BillingAccount, request_: Any
) -> None:
    billing.get_billing_account(GetBillingAccountRequest(id=account.id))
    billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=account.patient_id))
    service.follow_patient(follow_request(request_, 2, deleted=True))
    admin.close_billing_account(CloseBillingAccountRequest(id=account.id))
    assert sorted(summarize(find_events(admin, account, 5))) == [
        ("CloseBillingAccount", "OK", ADMIN_ID),
        ("CreateBillingAccount", "OK", SERVICE_ID),
        ("FollowPatient", "OK", SERVICE_ID),
        ("GetBillingAccount", "OK", USER_ID),
        ("ListBillingAccounts", "OK", USER_ID),
    ]


def test_batch_records_one_event_about_all_its_patients(service: Client, admin: Client) -> None:
    events = [follow_request(create_request(), 1, deleted=False) for _ in range(40)]
    invalid = follow_request(create_request(patient_id="42"), 1, deleted=False)
    service.batch_follow_patients(BatchFollowPatientsRequest(requests=[*events, invalid]))
    for event in (events[0], events[-1]):
        [recorded] = wait_for_events(admin, "search_billing_access_events", 1, subject_id=event.patient_id)
        assert (recorded.subject_count, recorded.outcome) == (40, "OK")
        assert recorded.method.endswith("/BatchFollowPatients")


def test_list_event_contains_the_query(billing: Client, admin: Client, account: BillingAccount) -> None:
    billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=account.patient_id, page_size=3))
    query = find_events(admin, account, 2)[-1].query
    assert json.loads(query) == {"patient_id": account.patient_id, "page_size": 3}


def test_closing_and_its_event_share_a_transaction(admin: Client, account: BillingAccount, sql: Sql) -> None:
    admin.close_billing_account(CloseBillingAccountRequest(id=account.id))
    event = "SELECT xmin::text FROM access_events WHERE method LIKE '%/Close%' AND $1 = ANY(subject_ids)"
    assert sql(event, account.patient_id) == sql("SELECT xmin::text FROM accounts WHERE id = $1", account.id)


def test_rejected_list_records_an_event_about_the_patient(
    service: Client, admin: Client, account: BillingAccount
) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        service.list_billing_accounts(ListBillingAccountsRequest(patient_id=account.patient_id))
    assert summarize(find_events(admin, account, 2))[-1] == ("ListBillingAccounts", "PERMISSION_DENIED", SERVICE_ID)


def test_users_cannot_search(billing: Client) -> None:
    with pytest.raises(Rejected, match="ROLE_REQUIRED"):
        billing.search_billing_access_events(SearchAccessEventsRequest())
