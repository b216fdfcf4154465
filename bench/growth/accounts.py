"""Lists of billing accounts and of users."""

from typing import Final

from bench.growth.cases import Cases, Read
from gen.pulsetrack.auth.v1 import ListUsersRequest
from gen.pulsetrack.billing.v1 import AccountStatus, ListBillingAccountsRequest
from services.auth.models import LIST_USERS
from services.billing.models import LIST_ACCOUNTS

_PATIENT: Final = "00000000-0000-7000-8000-000000000001"


def _list_accounts(patient_id: str = "", status: AccountStatus = AccountStatus.UNSPECIFIED) -> Read:
    listing = LIST_ACCOUNTS[bool(patient_id), bool(status)]
    request = ListBillingAccountsRequest(patient_id=patient_id, status=status)
    return lambda db: listing.read_page(db, request, patient_id=patient_id, status=status.name, accessible=None)


BILLING: Final = Cases(
    service="billing",
    fill=(
        "INSERT INTO accounts (id, patient_id, name, email, closed, create_time)"
        " SELECT gen_random_uuid(), ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Ana Silva',"
        " 'user' || n || '@clinic.test', n % ({count} / 20) = 0, now() - n * interval '20 s'"
        " FROM generate_series(1, {count}) AS n",
    ),
    table="accounts",
    reads={
        "accounts": _list_accounts(),
        "accounts of a patient": _list_accounts(_PATIENT),
        "active accounts": _list_accounts(status=AccountStatus.ACTIVE),
        "closed accounts": _list_accounts(status=AccountStatus.CLOSED),
    },
)
"""20 of the accounts are closed."""

AUTH: Final = Cases(
    service="auth",
    fill=(
        "INSERT INTO users (id, email, email_key, username, username_key, password_hash, role, create_time)"
        " SELECT gen_random_uuid(), n, n, n, n, '', 'USER', now() - n * interval '20 s'"
        " FROM generate_series(1, {count}) AS n",
    ),
    table="users",
    reads={"users": lambda db: LIST_USERS.read_page(db, ListUsersRequest())},
)
