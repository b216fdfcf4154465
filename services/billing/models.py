"""The tables of billing, and the statements that it runs."""

from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from services.common.db import Statement
from services.common.paging import Listing

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("patient_id", Uuid, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

Index("accounts_newest", accounts.c.create_time.desc(), accounts.c.id.desc())

INSERT_ACCOUNT = Statement(
    insert(accounts)
    .values({name: bindparam(name) for name in ("id", "patient_id", "name", "email", "status")})
    .on_conflict_do_nothing(index_elements=[accounts.c.patient_id])
    .returning(*accounts.c)
)
GET_ACCOUNT = Statement(select(accounts).where(accounts.c.id == bindparam("id")))
GET_ACCOUNT_OF_PATIENT = Statement(select(accounts).where(accounts.c.patient_id == bindparam("patient_id")))

_newest = (accounts.c.create_time, accounts.c.id)
_of_patient = accounts.c.patient_id == bindparam("patient_id")
LIST_ACCOUNTS = Listing(select(accounts), *_newest)
LIST_ACCOUNTS_OF_PATIENT = Listing(select(accounts).where(_of_patient), *_newest)
