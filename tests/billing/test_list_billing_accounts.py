"""ListBillingAccounts."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import (
    AccountStatus,
    BillingAccount,
    CloseBillingAccountRequest,
    ListBillingAccountsRequest,
    ListBillingAccountsResponse,
)
from tests.billing.factory import create_request
from tests.harness.client import Client, Rejected


def open_accounts(service: Client, count: int) -> list[BillingAccount]:
    """Opens a number of accounts, one after the other."""
    return [service.create_billing_account(create_request()) for _ in range(count)]


def list_accounts(billing: Client, **request: Any) -> Iterator[BillingAccount]:
    """Yields the accounts on all pages."""
    page = ListBillingAccountsResponse(next_page_token="")
    while True:
        page = billing.list_billing_accounts(ListBillingAccountsRequest(**request, page_token=page.next_page_token))
        yield from page.billing_accounts
        if not page.next_page_token:
            return


def test_newest_account_is_first(billing: Client, service: Client) -> None:
    new = open_accounts(service, 3)
    assert billing.list_billing_accounts(ListBillingAccountsRequest(page_size=3)).billing_accounts == new[::-1]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_contain_each_account_once(billing: Client, service: Client, size: int) -> None:
    new = open_accounts(service, 5)
    listed = list(list_accounts(billing, page_size=size))
    assert listed[:5] == new[::-1]
    assert len({account.id for account in listed}) == len(listed)


def test_filter_by_patient_returns_its_account(billing: Client, service: Client) -> None:
    account, _ = open_accounts(service, 2)
    assert list(list_accounts(billing, patient_id=account.patient_id)) == [account]
    assert list(list_accounts(billing, patient_id=account.patient_id.upper())) == [account]


@pytest.mark.parametrize("size", [1, 50])
def test_filter_by_status(billing: Client, service: Client, admin: Client, size: int) -> None:
    active, closed, last = open_accounts(service, 3)
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=closed.id))
    listed = list(list_accounts(billing, page_size=size, status=AccountStatus.ACTIVE))
    assert listed[:2] == [last, active]
    assert {account.status for account in listed} == {AccountStatus.ACTIVE}
    listed = list(list_accounts(billing, page_size=size, status=AccountStatus.CLOSED))
    assert listed[0] == closed
    assert {account.status for account in listed} == {AccountStatus.CLOSED}
    assert list(list_accounts(billing, patient_id=closed.patient_id)) == [closed]
    assert list(list_accounts(billing, patient_id=closed.patient_id, status=AccountStatus.CLOSED)) == [closed]
    assert not list(list_accounts(billing, patient_id=closed.patient_id, status=AccountStatus.ACTIVE))


def test_patient_without_an_account_returns_an_empty_page(billing: Client) -> None:
    response = billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=str(uuid4())))
    assert response == ListBillingAccountsResponse()


def test_altered_page_token_or_query_is_rejected(billing: Client, service: Client) -> None:
    [account, *_] = open_accounts(service, 3)
    token = billing.list_billing_accounts(ListBillingAccountsRequest(page_size=1)).next_page_token
    for request in (
        ListBillingAccountsRequest(page_token=token, patient_id=account.patient_id),
        ListBillingAccountsRequest(page_token=token, status=AccountStatus.ACTIVE),
        ListBillingAccountsRequest(page_token=token[::-1]),
        ListBillingAccountsRequest(page_token="token"),
    ):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            billing.list_billing_accounts(request)
    assert billing.list_billing_accounts(ListBillingAccountsRequest(page_token=token, page_size=7)).billing_accounts


@pytest.mark.parametrize(
    ("field", "value"),
    [("page_size", -1), ("patient_id", "42"), ("status", 9), ("page_token", "x" * 513)],
)
def test_invalid_field_is_reported_by_its_path(billing: Client, field: str, value: object) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        billing.list_billing_accounts(ListBillingAccountsRequest(**{field: value}))  # type: ignore[arg-type]
    assert list(rejected.value.violations) == [field]
