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
from services.common.postgres.batches import select_last
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
    Column(
        "status", Text, Computed("CASE WHEN closed OR patient_deleted THEN 'CLOSED' ELSE 'ACTIVE' END", persisted=True)
    ),
)
"""One account for each patient. It is active unless an admin has `closed` it or its patient is deleted.

`name`, `email` and `patient_deleted` are those of the patient event with the number `sequence`; 0 is the creation.
"""

Index("accounts_newest", accounts.c.create_time.desc(), accounts.c.id.desc())
Index("accounts_of_status", accounts.c.status, accounts.c.create_time.desc(), accounts.c.id.desc())

_new = insert(accounts).values({name: bindparam(name) for name in ("id", "patient_id", "name", "email")})
INSERT_ACCOUNT = Statement(_new.on_conflict_do_nothing(index_elements=[accounts.c.patient_id]).returning(*accounts.c))


def _apply_if_newer(events: Insert) -> Insert:
    """Returns the upsert that opens the accounts of events, or updates those whose last event is older."""
    return events.on_conflict_do_update(
        index_elements=[accounts.c.patient_id],
        set_={name: events.excluded[name] for name in ("name", "email", "patient_deleted", "sequence")},
        where=accounts.c.sequence < events.excluded.sequence,
    )


FOLLOWED_COLUMNS = ("id", "patient_id", "name", "email", "patient_deleted", "sequence")
FOLLOW_PATIENT = Statement(
    _apply_if_newer(insert(accounts).values({name: bindparam(name) for name in FOLLOWED_COLUMNS})).returning(
        *accounts.c
    )
)
_last_events = select_last([accounts.c[name] for name in FOLLOWED_COLUMNS], key="patient_id", order="sequence")
FOLLOW_PATIENTS = Statement(_apply_if_newer(insert(accounts).from_select(FOLLOWED_COLUMNS, _last_events)))
CLOSE_ACCOUNT = Statement(
    update(accounts).where(accounts.c.id == bindparam("account_id")).values(closed=true()).returning(*accounts.c)
)
GET_ACCOUNT = Statement(select(accounts).where(accounts.c.id == bindparam("id")))
GET_ACCOUNT_OF_PATIENT = Statement(select(accounts).where(accounts.c.patient_id == bindparam("patient_id")))

_newest = (accounts.c.create_time, accounts.c.id)
_of_patient = accounts.c.patient_id == bindparam("patient_id")
_of_status = accounts.c.status == bindparam("status", type_=Text)
LIST_ACCOUNTS = {
    (False, False): Listing(select(accounts), *_newest),
    (True, False): Listing(select(accounts).where(_of_patient), *_newest),
    (False, True): Listing(select(accounts).where(_of_status), *_newest),
    (True, True): Listing(select(accounts).where(_of_patient, _of_status), *_newest),
}
"""The accounts, by whether they are those of a patient, and whether they have a status."""
