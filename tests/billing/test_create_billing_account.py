"""CreateBillingAccount."""

from functools import partial
from uuid import UUID, uuid4

import pytest

from gen.pulsetrack.billing.v1 import AccountStatus, GetBillingAccountRequest, ListBillingAccountsRequest
from tests.billing.factory import create_request
from tests.harness.client import Client, Rejected
from tests.harness.concurrency import call_concurrently


def test_response_equals_the_stored_account(billing: Client, service: Client) -> None:
    request = create_request()
    opened = service.create_billing_account(request)
    assert opened == billing.get_billing_account(GetBillingAccountRequest(id=opened.id))
    assert (opened.patient_id, opened.name, opened.email) == (request.patient_id, request.name, request.email)
    assert opened.status is AccountStatus.ACTIVE
    assert UUID(opened.id).version == 7


def test_repeated_create_returns_the_existing_account(service: Client) -> None:
    request = create_request()
    opened = service.create_billing_account(request)
    assert service.create_billing_account(request) == opened
    assert (
        service.create_billing_account(create_request(patient_id=request.patient_id.upper(), name="Another")) == opened
    )


def test_concurrent_creates_open_one_account(billing: Client, service: Client) -> None:
    request = create_request()
    opened, rejected = call_concurrently([partial(service.create_billing_account, request)] * 16)
    assert not rejected
    listed = billing.list_billing_accounts(ListBillingAccountsRequest(patient_id=request.patient_id))
    assert listed.billing_accounts == opened[:1]
    assert {account.id for account in opened} == {opened[0].id}


def test_only_services_can_open_accounts(billing: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        billing.create_billing_account(create_request())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patient_id", ""),
        ("patient_id", "42"),
        ("name", ""),
        ("name", "x" * 101),
        ("email", ""),
        ("email", f"{uuid4()}" * 8),
    ],
)
def test_invalid_field_is_reported_by_its_path(service: Client, field: str, value: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        service.create_billing_account(create_request(**{field: value}))
    assert list(rejected.value.violations) == [field]
