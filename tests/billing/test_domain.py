"""Unit tests of the decisions about billing accounts."""

from datetime import UTC, datetime
from uuid import UUID

from gen.pulsetrack.billing.v1 import AccountStatus, BillingAccount
from services.billing.domain import create_row, to_account
from tests.billing.factory import create_request, follow_request


def test_row_of_a_create_request_has_no_patient_state() -> None:
    request = create_request()
    row = create_row(request)
    assert row.pop("id").version == 7
    assert row == {"patient_id": request.patient_id, "name": request.name, "email": request.email}


def test_row_of_a_follow_request_has_the_patient_state() -> None:
    row = create_row(follow_request(create_request(), 3, deleted=True))
    assert (row["sequence"], row["patient_deleted"]) == (3, True)


def test_row_is_converted_to_an_account() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    row = {
        "id": UUID(int=1),
        "patient_id": UUID(int=2),
        "name": "Ana Silva",
        "email": "ana@clinic.test",
        "status": "CLOSED",
        "create_time": now,
    }
    assert to_account(row) == BillingAccount(
        id=str(UUID(int=1)),
        patient_id=str(UUID(int=2)),
        name="Ana Silva",
        email="ana@clinic.test",
        status=AccountStatus.CLOSED,
        create_time=now,
    )
