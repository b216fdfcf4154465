"""Decisions about billing accounts that need no database."""

from typing import Any

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.billing.v1 import AccountStatus, BillingAccount, CreateBillingAccountRequest, FollowPatientRequest


def create_row(request: CreateBillingAccountRequest | FollowPatientRequest) -> dict[str, Any]:
    """Returns the columns of an account that a request opens. `FollowPatientRequest` also sets the patient's state."""
    row = {"id": uuid7(), "patient_id": request.patient_id, "name": request.name, "email": request.email}
    if isinstance(request, FollowPatientRequest):
        row |= {"patient_deleted": request.deleted, "restricted": request.restricted, "sequence": request.sequence}
    return row


def to_account(row: Record) -> BillingAccount:
    """Returns the account that a row represents."""
    return BillingAccount(
        id=str(row["id"]),
        patient_id=str(row["patient_id"]),
        name=row["name"],
        email=row["email"],
        status=AccountStatus[row["status"]],
        create_time=row["create_time"],
    )
