"""The tables and SQL statements of auth."""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common.audit.search import Search
from services.common.audit.tables import AuditTables
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement

metadata = MetaData()

AUDIT = AuditTables(metadata)
SEARCH = Search(AUDIT)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("username", Text, nullable=False),
    Column("username_key", Text, nullable=False, unique=True),
    Column("username_skeleton", Text, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default="false"),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("token_version", Integer, nullable=False, server_default="0"),
    Column("revoke_time", DateTime(timezone=True)),
)
"""Users. Access tokens with a token_version below the user's are revoked; revoke_time is the latest revocation."""

Index("users_revoked", users.c.revoke_time, postgresql_where=users.c.revoke_time.is_not(None))
Index("users_newest", users.c.create_time.desc(), users.c.id.desc())

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", Uuid, nullable=False, index=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False, index=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("use_time", DateTime(timezone=True)),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("encrypted_pem", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("activate_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("retire_time", DateTime(timezone=True)),
)
"""A key signs from its activate_time until the next key is activated, and verifies until its retire_time."""

failed_logins = Table(
    "failed_logins",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("times", ARRAY(DateTime(timezone=True)), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
)
"""The times of failed logins, newest first, by the digest of the email address."""

_NEW_USER = ("id", "email", "email_key", "username", "username_key", "username_skeleton", "password_hash", "role")
_new_user: dict[str, Any] = {name: bindparam(name) for name in _NEW_USER}
INSERT_USER = Statement(insert(users).values(_new_user).returning(*users.c))
INSERT_USER_IF_NEW = Statement(upsert(users).values(_new_user).on_conflict_do_nothing())
GET_USER = Statement(select(users).where(users.c.id == bindparam("id")))
LOCK_USER = Statement(select(users).where(users.c.id == bindparam("id")).with_for_update(read=True))
GET_USER_BY_EMAIL = Statement(select(users).where(users.c.email_key == bindparam("email_key")))
LIST_USERS = Listing(select(users), users.c.create_time, users.c.id)
LOCK_USERS = Statement(select(func.pg_advisory_xact_lock(2)))
UPDATE_USER = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(role=bindparam("new_role"), disabled=bindparam("now_disabled"))
)
REVOKE_TOKENS = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(token_version=users.c.token_version + 1, revoke_time=func.now())
)
LIST_REVOCATIONS = Statement(
    select(users.c.id, users.c.token_version, users.c.disabled).where(
        users.c.revoke_time > func.now() - bindparam("within", type_=Interval)
    )
)
REPLACE_PASSWORD_HASH = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)
GET_AN_ENABLED_ADMIN = Statement(
    select(users.c.id).where(users.c.role == "ADMIN", users.c.disabled.is_(False)).limit(1)
)

INSERT_REFRESH_TOKEN = Statement(
    insert(refresh_tokens).values({n: bindparam(n) for n in ("digest", "family_id", "user_id", "expire_time")})
)
USE_REFRESH_TOKEN = Statement(
    update(refresh_tokens)
    .where(
        refresh_tokens.c.digest == bindparam("digest"),
        refresh_tokens.c.use_time.is_(None),
        refresh_tokens.c.expire_time > func.now(),
    )
    .values(use_time=func.now())
    .returning(refresh_tokens.c.family_id, refresh_tokens.c.user_id)
)
_lock = func.pg_advisory_xact_lock(func.hashtextextended(cast(refresh_tokens.c.family_id, Text), 0))
LOCK_REFRESH_FAMILY = Statement(select(_lock).where(refresh_tokens.c.digest == bindparam("digest")))
_family = select(refresh_tokens.c.family_id).where(refresh_tokens.c.digest == bindparam("digest")).scalar_subquery()
DELETE_REFRESH_FAMILY = Statement(
    delete(refresh_tokens).where(refresh_tokens.c.family_id == _family).returning(refresh_tokens.c.user_id)
)
DELETE_REFRESH_TOKENS_OF_USER = Statement(
    delete(refresh_tokens).where(refresh_tokens.c.user_id == bindparam("user_id"))
)
DELETE_REFRESH_TOKENS = Statement(delete(refresh_tokens))
DELETE_EXPIRED_REFRESH_TOKENS = Statement(
    delete(refresh_tokens).where(
        refresh_tokens.c.user_id == bindparam("user_id"), refresh_tokens.c.expire_time < func.now()
    )
)

LOCK_SIGNING_KEYS = Statement(select(func.pg_advisory_xact_lock(1)))
LIST_SIGNING_KEYS = Statement(
    select(signing_keys)
    .where(or_(signing_keys.c.retire_time.is_(None), signing_keys.c.retire_time > func.now()))
    .order_by(signing_keys.c.activate_time.desc(), signing_keys.c.id)
)
INSERT_SIGNING_KEY = Statement(
    insert(signing_keys)
    .values(
        id=bindparam("id"),
        encrypted_pem=bindparam("encrypted_pem"),
        activate_time=func.now() + bindparam("activates_in", type_=Interval),
    )
    .returning(*signing_keys.c)
)
RETIRE_SIGNING_KEYS = Statement(
    update(signing_keys)
    .where(signing_keys.c.retire_time.is_(None), signing_keys.c.id != bindparam("successor"))
    .values(retire_time=bindparam("retires"))
)
DELETE_SIGNING_KEYS = Statement(delete(signing_keys))
DELETE_RETIRED_SIGNING_KEYS = Statement(delete(signing_keys).where(signing_keys.c.retire_time < func.now()))
