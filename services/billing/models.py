"""The tables and statements of the billing service."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Index,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    false,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from services.common.audit.search import Search
from services.common.audit.tables import AuditTables
from services.common.patient_access import ACCESSIBLE, is_accessible
from services.common.postgres.batches import select_last
from services.common.postgres.guards import guard, see_all
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement

metadata = MetaData()

AUDIT = AuditTables(metadata)
SEARCH = Search(AUDIT)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("patient_id", Uuid, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("closed", Boolean, nullable=False, server_default=false()),
    Column("patient_deleted", Boolean, nullable=False, server_default=false()),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    Column("restricted", Boolean, nullable=False, server_default=false()),
    Column(
        "status", Text, Computed("CASE WHEN closed OR patient_deleted THEN 'CLOSED' ELSE 'ACTIVE' END", persisted=True)
    ),
    info=guard(ACCESSIBLE),
)
"""One account for each patient. It is active unless an admin has `closed` it or its patient is deleted.

`name`, `email`, `patient_deleted` and `restricted` are those of the patient event with the number `sequence`; 0 is the
creation.
"""

Index("accounts_newest", accounts.c.create_time.desc(), accounts.c.id.desc())
Index("accounts_of_status", accounts.c.status, accounts.c.create_time.desc(), accounts.c.id.desc())

_new = insert(accounts).values({name: bindparam(name) for name in ("id", "patient_id", "name", "email")})
INSERT_ACCOUNT = Statement(_new.on_conflict_do_nothing(index_elements=[accounts.c.patient_id]).returning(*accounts.c))


FOLLOWED_COLUMNS = ("id", "patient_id", "name", "email", "patient_deleted", "restricted", "sequence")


def _apply_if_newer(events: Insert) -> Insert:
    """Returns the upsert that opens the accounts of events, or updates those whose last event is older."""
    return events.on_conflict_do_update(
        index_elements=[accounts.c.patient_id],
        set_={name: events.excluded[name] for name in FOLLOWED_COLUMNS[2:]},
        where=accounts.c.sequence < events.excluded.sequence,
    )


FOLLOW_PATIENT = Statement(
    _apply_if_newer(insert(accounts).values({name: bindparam(name) for name in FOLLOWED_COLUMNS})).returning(
        *accounts.c
    )
)
_last_events = select_last([accounts.c[name] for name in FOLLOWED_COLUMNS], key="patient_id", order="sequence")
FOLLOW_PATIENTS = Statement(_apply_if_newer(insert(accounts).from_select(FOLLOWED_COLUMNS, _last_events)))

VISIBLE_ACCOUNTS = select(accounts).where(is_accessible(accounts.c.patient_id, accounts.c.restricted))
"""The accounts that the current caller may see (see VisibleRows)."""

GET_ACCOUNT = Statement(VISIBLE_ACCOUNTS.where(accounts.c.id == bindparam("id")))
CLOSE_ACCOUNT = Statement(  # the caller has seen the account
    see_all(update(accounts))
    .where(accounts.c.id == bindparam("account_id"))
    .values(closed=true())
    .returning(*accounts.c)
)
# Sees all accounts: only services open accounts.
GET_ACCOUNT_OF_PATIENT = Statement(see_all(select(accounts)).where(accounts.c.patient_id == bindparam("patient_id")))

_newest = (accounts.c.create_time, accounts.c.id)
_of_patient = accounts.c.patient_id == bindparam("patient_id")
_of_status = accounts.c.status == bindparam("status", type_=Text)
LIST_ACCOUNTS = {
    (False, False): Listing(VISIBLE_ACCOUNTS, *_newest),
    (True, False): Listing(VISIBLE_ACCOUNTS.where(_of_patient), *_newest),
    (False, True): Listing(VISIBLE_ACCOUNTS.where(_of_status), *_newest),
    (True, True): Listing(VISIBLE_ACCOUNTS.where(_of_patient, _of_status), *_newest),
}
"""The accounts, by whether they are those of a patient, and whether they have a status."""
