"""Accounts to be."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.billing.v1 import CreateBillingAccountRequest, FollowPatientRequest


def create_request(**fields: Any) -> CreateBillingAccountRequest:
    """Returns the request that opens an account of a patient unlike any other, with the fields given."""
    usual = {"patient_id": str(uuid4()), "name": "Ana Silva", "email": "ana@clinic.test"}
    return CreateBillingAccountRequest(**(usual | fields))


def follow_request(account: CreateBillingAccountRequest, sequence: int, *, deleted: bool) -> FollowPatientRequest:
    """Returns the request that tells of the deletion, or the undeletion, of the patient whose account it is."""
    who = {"patient_id": account.patient_id, "name": account.name, "email": account.email}
    return FollowPatientRequest(**who, sequence=sequence, deleted=deleted)
