"""CloseBillingAccount."""

from dataclasses import replace
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import AccountStatus, CloseBillingAccountRequest, GetBillingAccountRequest
from tests.billing.factory import create_request, follow_request
from tests.harness.client import Client, Rejected


def test_response_equals_the_stored_account(billing: Client, service: Client, admin: Client) -> None:
    opened = service.create_billing_account(create_request())
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=opened.id))
    assert closed == replace(opened, status=AccountStatus.CLOSED)
    assert billing.get_billing_account(GetBillingAccountRequest(id=opened.id)) == closed


def test_repeated_close_returns_the_closed_account(service: Client, admin: Client) -> None:
    request = CloseBillingAccountRequest(id=service.create_billing_account(create_request()).id)
    assert admin.close_billing_account(request) == admin.close_billing_account(request)


def test_repeated_create_does_not_reopen_the_account(service: Client, admin: Client) -> None:
    request = create_request()
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=service.create_billing_account(request).id))
    assert service.create_billing_account(request) == closed


@pytest.mark.parametrize("before", [0, 1, 2], ids=["before both", "between them", "after both"])
def test_undeletion_does_not_reopen_an_account_closed_by_an_admin(service: Client, admin: Client, before: int) -> None:
    request = create_request()
    opened = service.create_billing_account(request)
    events = [follow_request(request, 2, deleted=True), follow_request(request, 3, deleted=False)]
    for event in events[:before]:
        service.follow_patient(event)
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=opened.id))
    for event in events[before:]:
        assert service.follow_patient(event) == closed


def test_unknown_id_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        admin.close_billing_account(CloseBillingAccountRequest(id=str(uuid4())))


def test_only_admins_can_close_accounts(billing: Client, service: Client) -> None:
    request = CloseBillingAccountRequest(id=service.create_billing_account(create_request()).id)
    for caller in (billing, service):
        with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
            caller.close_billing_account(request)


@pytest.mark.parametrize("account_id", ["", "42"])
def test_invalid_id_is_rejected(admin: Client, account_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.close_billing_account(CloseBillingAccountRequest(id=account_id))
    assert list(rejected.value.violations) == ["id"]
