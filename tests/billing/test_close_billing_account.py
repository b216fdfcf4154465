"""CloseBillingAccount."""

from dataclasses import replace
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import AccountStatus, CloseBillingAccountRequest, GetBillingAccountRequest
from tests.billing.factory import create_request, follow_request
from tests.harness.client import Client, Rejected


def test_a_closed_account_is_returned_as_it_is_stored(billing: Client, service: Client, admin: Client) -> None:
    opened = service.create_billing_account(create_request())
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=opened.id))
    assert closed == replace(opened, status=AccountStatus.CLOSED)
    assert billing.get_billing_account(GetBillingAccountRequest(id=opened.id)) == closed


def test_asked_again_it_returns_the_closed_account(service: Client, admin: Client) -> None:
    request = CloseBillingAccountRequest(id=service.create_billing_account(create_request()).id)
    assert admin.close_billing_account(request) == admin.close_billing_account(request)


def test_asked_again_to_open_an_account_a_service_does_not_reopen_it(service: Client, admin: Client) -> None:
    request = create_request()
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=service.create_billing_account(request).id))
    assert service.create_billing_account(request) == closed


@pytest.mark.parametrize("before", [0, 1, 2], ids=["before both", "between them", "after both"])
def test_an_undeletion_does_not_reopen_what_an_admin_has_closed(service: Client, admin: Client, before: int) -> None:
    request = create_request()
    opened = service.create_billing_account(request)
    told = [follow_request(request, 2, deleted=True), follow_request(request, 3, deleted=False)]
    for event in told[:before]:
        service.follow_patient(event)
    closed = admin.close_billing_account(CloseBillingAccountRequest(id=opened.id))
    for event in told[before:]:
        assert service.follow_patient(event) == closed


def test_an_unknown_id_is_not_found(admin: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        admin.close_billing_account(CloseBillingAccountRequest(id=str(uuid4())))


def test_only_admins_may_close_accounts(billing: Client, service: Client) -> None:
    request = CloseBillingAccountRequest(id=service.create_billing_account(create_request()).id)
    for caller in (billing, service):
        with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
            caller.close_billing_account(request)


@pytest.mark.parametrize("account_id", ["", "42"])
def test_what_is_no_uuid_is_refused(admin: Client, account_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.close_billing_account(CloseBillingAccountRequest(id=account_id))
    assert list(refused.value.violations) == ["id"]
