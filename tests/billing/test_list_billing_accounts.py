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


def opened(service: Client, count: int) -> list[BillingAccount]:
    """Opens so many accounts, one after the other."""
    return [service.create_billing_account(create_request()) for _ in range(count)]


def walk(billing: Client, **request: Any) -> Iterator[BillingAccount]:
    """Follows the page tokens to the last page."""
    page = ListBillingAccountsResponse(next_page_token="")
    while True:
        page = billing.list_billing_accounts(ListBillingAccountsRequest(**request, page_token=page.next_page_token))
        yield from page.billing_accounts
        if not page.next_page_token:
            return


def test_the_newest_comes_first(billing: Client, service: Client) -> None:
    new = opened(service, 3)
    assert billing.list_billing_accounts(ListBillingAccountsRequest(page_size=3)).billing_accounts == new[::-1]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_pages_hold_every_account_once(billing: Client, service: Client, size: int) -> None:
    new = opened(service, 5)
    walked = list(walk(billing, page_size=size))
    assert walked[:5] == new[::-1]
    assert len({account.id for account in walked}) == len(walked)


def test_a_patient_has_one_account(billing: Client, service: Client) -> None:
    mine, _ = opened(service, 2)
    assert list(walk(billing, patient_id=mine.patient_id)) == [mine]
    assert list(walk(billing, patient_id=mine.patient_id.upper())) == [mine]


@pytest.mark.parametrize("size", [1, 50])
def test_accounts_are_listed_by_status(billing: Client, service: Client, admin: Client, size: int) -> None:
    active, closed, last = opened(service, 3)
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=closed.id))
    walked = list(walk(billing, page_size=size, status=AccountStatus.ACTIVE))
    assert walked[:2] == [last, active]
    assert {account.status for account in walked} == {AccountStatus.ACTIVE}
    walked = list(walk(billing, page_size=size, status=AccountStatus.CLOSED))
    assert walked[0] == closed
    assert {account.status for account in walked} == {AccountStatus.CLOSED}
    assert list(walk(billing, patient_id=closed.patient_id)) == [closed]
    assert list(walk(billing, patient_id=closed.patient_id, status=AccountStatus.CLOSED)) == [closed]
    assert not list(walk(billing, patient_id=closed.patient_id, status=AccountStatus.ACTIVE))


def test_a_patient_without_an_account_has_none(billing: Client) -> None:
    answer = billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=str(uuid4())))
    assert answer == ListBillingAccountsResponse()


def test_a_token_is_refused_with_another_query_or_changed(billing: Client, service: Client) -> None:
    [mine, *_] = opened(service, 3)
    token = billing.list_billing_accounts(ListBillingAccountsRequest(page_size=1)).next_page_token
    for request in (
        ListBillingAccountsRequest(page_token=token, patient_id=mine.patient_id),
        ListBillingAccountsRequest(page_token=token, status=AccountStatus.ACTIVE),
        ListBillingAccountsRequest(page_token=token[::-1]),
        ListBillingAccountsRequest(page_token="token"),
    ):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            billing.list_billing_accounts(request)
    assert billing.list_billing_accounts(ListBillingAccountsRequest(page_token=token, page_size=7)).billing_accounts


@pytest.mark.parametrize(
    ("field", "value"),
    [("page_size", -1), ("page_size", 1001), ("patient_id", "42"), ("status", 9), ("page_token", "x" * 513)],
)
def test_a_field_that_breaks_its_rule_is_named(billing: Client, field: str, value: object) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        billing.list_billing_accounts(ListBillingAccountsRequest(**{field: value}))  # type: ignore[arg-type]
    assert list(refused.value.violations) == [field]
