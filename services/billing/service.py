"""The RPCs of billing."""

from typing import Any

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.billing.v1 import (
    AccountStatus,
    BillingAccount,
    CloseBillingAccountRequest,
    CreateBillingAccountRequest,
    FollowPatientRequest,
    GetBillingAccountRequest,
    ListBillingAccountsRequest,
    ListBillingAccountsResponse,
)
from services.billing.errors import BillingAccountNotFound
from services.billing.models import (
    CLOSE_ACCOUNT,
    FOLLOW_PATIENT,
    GET_ACCOUNT,
    GET_ACCOUNT_OF_PATIENT,
    INSERT_ACCOUNT,
    LIST_ACCOUNTS,
    LIST_ACCOUNTS_OF_PATIENT,
    SEARCH,
)
from services.common.audit.events import record_change, record_read
from services.common.postgres.database import Database

_STATUSES = {
    AccountStatus.UNSPECIFIED: ["ACTIVE", "CLOSED"],
    AccountStatus.ACTIVE: ["ACTIVE"],
    AccountStatus.CLOSED: ["CLOSED"],
}


class BillingService:
    """Keeps one account for each patient."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create_billing_account(self, request: CreateBillingAccountRequest) -> BillingAccount:
        """Opens a patient's account, or returns the one that there is."""
        row = await self._db.row(INSERT_ACCOUNT, **_new(request))
        row = row or await self._db.row(GET_ACCOUNT_OF_PATIENT, patient_id=request.patient_id)
        return _account(row)

    async def follow_patient(self, request: FollowPatientRequest) -> BillingAccount:
        """Brings a patient's account up to date with an event, unless a newer one is known of the patient."""
        told: dict[str, Any] = {"patient_deleted": request.deleted, "sequence": request.sequence}
        row = await self._db.row(FOLLOW_PATIENT, **_new(request), **told)
        row = row or await self._db.row(GET_ACCOUNT_OF_PATIENT, patient_id=request.patient_id)
        return _account(row)

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        """Returns an account.

        Raises BillingAccountNotFound.
        """
        row = await self._db.row(GET_ACCOUNT, id=request.id)
        if row is None:
            raise BillingAccountNotFound
        record_read([row["patient_id"]])
        return _account(row)

    async def list_billing_accounts(self, request: ListBillingAccountsRequest) -> ListBillingAccountsResponse:
        """Returns a page of accounts, newest first.

        Raises PageTokenInvalid.
        """
        listing = LIST_ACCOUNTS_OF_PATIENT if request.patient_id else LIST_ACCOUNTS
        query = {"patient_id": request.patient_id, "statuses": _STATUSES[request.status]}
        rows, next_page_token = await listing.page(self._db, request, **query)
        record_read(row["patient_id"] for row in rows)
        return ListBillingAccountsResponse(
            billing_accounts=[_account(row) for row in rows], next_page_token=next_page_token
        )

    async def close_billing_account(self, request: CloseBillingAccountRequest) -> BillingAccount:
        """Closes an account for good.

        Raises BillingAccountNotFound.
        """
        async with self._db.begin() as tx:
            row = await tx.row(CLOSE_ACCOUNT, account_id=request.id)
            if row is None:
                raise BillingAccountNotFound
            await record_change(tx, row["patient_id"])
            return _account(row)

    async def search_billing_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)


def _new(request: CreateBillingAccountRequest | FollowPatientRequest) -> dict[str, Any]:
    """Returns the columns of an account that is opened."""
    return {"id": uuid7(), "patient_id": request.patient_id, "name": request.name, "email": request.email}


def _account(row: Record) -> BillingAccount:
    return BillingAccount(
        id=str(row["id"]),
        patient_id=str(row["patient_id"]),
        name=row["name"],
        email=row["email"],
        status=AccountStatus[row["status"]],
        create_time=row["create_time"],
    )
