"""The RPCs of the billing service."""

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse
from gen.pulsetrack.billing.v1 import (
    BatchFollowPatientsRequest,
    BatchFollowPatientsResponse,
    BillingAccount,
    CloseBillingAccountRequest,
    CreateBillingAccountRequest,
    FollowPatientRequest,
    GetBillingAccountRequest,
    ListBillingAccountsRequest,
    ListBillingAccountsResponse,
)
from services.billing.domain import create_row, to_account
from services.billing.errors import BillingAccountNotFound
from services.billing.models import (
    CLOSE_ACCOUNT,
    FOLLOW_PATIENT,
    FOLLOW_PATIENTS,
    FOLLOWED_COLUMNS,
    GET_ACCOUNT,
    GET_ACCOUNT_OF_PATIENT,
    INSERT_ACCOUNT,
    LIST_ACCOUNTS,
    SEARCH,
)
from services.common.audit.events import record_change, record_read
from services.common.patient_access import FindAccess, VisibleRows
from services.common.postgres.batches import to_arrays
from services.common.postgres.database import Database
from services.common.rpc.batches import select_valid


class BillingService:
    """Implements BillingService. Each patient has one account."""

    def __init__(self, db: Database, find_access: FindAccess) -> None:
        """Takes the database, and a function that finds the restricted patients that a caller may see."""
        self._db = db
        self._visible = VisibleRows(db, find_access)

    async def create_billing_account(self, request: CreateBillingAccountRequest) -> BillingAccount:
        """Opens an account for a patient, or returns the patient's existing account."""
        row = await self._db.row(INSERT_ACCOUNT, **create_row(request))
        row = row or await self._db.row(GET_ACCOUNT_OF_PATIENT, patient_id=request.patient_id)
        return to_account(row)

    async def follow_patient(self, request: FollowPatientRequest) -> BillingAccount:
        """Applies an event of a patient to the account, and opens the account if there is none.

        An event that is older than the account's state changes nothing.
        """
        row = await self._db.row(FOLLOW_PATIENT, **create_row(request))
        row = row or await self._db.row(GET_ACCOUNT_OF_PATIENT, patient_id=request.patient_id)
        return to_account(row)

    async def batch_follow_patients(self, request: BatchFollowPatientsRequest) -> BatchFollowPatientsResponse:
        """Applies events of patients, as `follow_patient` does. Does not apply the invalid ones."""
        valid, failed = select_valid(request.requests)
        if valid:
            rows = [create_row(each) for each in valid]
            await self._db.row(FOLLOW_PATIENTS, **to_arrays(rows, FOLLOWED_COLUMNS))
        return BatchFollowPatientsResponse(failed_requests=failed)

    async def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:
        """Returns an account.

        Raises BillingAccountNotFound, DependencyUnavailable.
        """
        row = await self._visible.row(GET_ACCOUNT, id=request.id)
        if row is None:
            raise BillingAccountNotFound
        record_read([row["patient_id"]])
        return to_account(row)

    async def list_billing_accounts(self, request: ListBillingAccountsRequest) -> ListBillingAccountsResponse:
        """Returns a page of accounts, newest first.

        Raises PageTokenInvalid, DependencyUnavailable.
        """
        listing = LIST_ACCOUNTS[bool(request.patient_id), bool(request.status)]
        values = {"patient_id": request.patient_id, "status": request.status.name}
        rows, next_page_token = await listing.read_page(self._visible, request, **values)
        record_read(row["patient_id"] for row in rows)
        accounts = [to_account(row) for row in rows]
        return ListBillingAccountsResponse(billing_accounts=accounts, next_page_token=next_page_token)

    async def close_billing_account(self, request: CloseBillingAccountRequest) -> BillingAccount:
        """Closes an account permanently.

        Raises BillingAccountNotFound, DependencyUnavailable.
        """
        if await self._visible.row(GET_ACCOUNT, id=request.id) is None:
            raise BillingAccountNotFound
        async with self._db.begin() as tx:
            [row] = await tx.rows(CLOSE_ACCOUNT, account_id=request.id)
            record_change(tx, row["patient_id"])
            return to_account(row)

    async def search_billing_access_events(self, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of access events, newest first.

        Raises PageTokenInvalid.
        """
        return await SEARCH.page(self._db, request)
