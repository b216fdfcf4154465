"""GetBillingAccount."""

from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from tests.billing.factory import create_request
from tests.harness.client import Client, Rejected


def test_account_is_found_by_its_id(billing: Client, service: Client) -> None:
    opened = service.create_billing_account(create_request())
    assert billing.get_billing_account(GetBillingAccountRequest(id=opened.id)) == opened


def test_patient_id_is_not_accepted_as_account_id(billing: Client, service: Client) -> None:
    opened = service.create_billing_account(create_request())
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        billing.get_billing_account(GetBillingAccountRequest(id=opened.patient_id))


def test_unknown_id_is_not_found(billing: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        billing.get_billing_account(GetBillingAccountRequest(id=str(uuid4())))


@pytest.mark.parametrize("account_id", ["", "42", "not-a-uuid"])
def test_invalid_id_is_rejected(billing: Client, account_id: str) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        billing.get_billing_account(GetBillingAccountRequest(id=account_id))
    assert list(rejected.value.violations) == ["id"]
