"""Accounts to be."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.billing.v1 import CreateBillingAccountRequest


def opening(**fields: Any) -> CreateBillingAccountRequest:
    """Returns the request that opens an account of a patient unlike any other, with the fields given."""
    usual = {"patient_id": str(uuid4()), "name": "Ana Silva", "email": "ana@clinic.test"}
    return CreateBillingAccountRequest(**(usual | fields))
