"""Requests for tests."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.billing.v1 import CreateBillingAccountRequest, FollowPatientRequest


def create_request(**fields: Any) -> CreateBillingAccountRequest:
    """Returns a request that opens an account of a new patient, with the given fields."""
    defaults = {"patient_id": str(uuid4()), "name": "Ana Silva", "email": "ana@clinic.test"}
    return CreateBillingAccountRequest(**(defaults | fields))


def follow_request(
    account: CreateBillingAccountRequest, sequence: int, *, deleted: bool = False, restricted: bool = False
) -> FollowPatientRequest:
    """Returns a request that reports a change of the patient of an account."""
    return FollowPatientRequest(
        patient_id=account.patient_id,
        name=account.name,
        email=account.email,
        sequence=sequence,
        deleted=deleted,
        restricted=restricted,
    )
