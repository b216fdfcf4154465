"""The tables and SQL statements of auth."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common.audit.search import Search
from services.common.audit.tables import AuditTables, first_id
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement

metadata = MetaData()

AUDIT = AuditTables(metadata)
SEARCH = Search(AUDIT)

EVENT_TYPE: ColumnElement[str] = literal_column("""substring(method, '^[^ ]+ [{]"security_event":"([A-Z_]+)"')""", Text)
"""The type of an access event that is a security event, otherwise NULL."""

_order = AUDIT.events.c.occur_time, AUDIT.events.c.id
_has_type = EVENT_TYPE.is_not(None)
Index("access_events_security", *_order, postgresql_where=_has_type)
Index("access_events_security_by_type", EVENT_TYPE, *_order, postgresql_where=_has_type)
Index("access_events_security_of_subject", first_id(AUDIT.events), *_order, postgresql_where=_has_type)

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
    Column("second_factor", Boolean, nullable=False, server_default="false"),
    Column("email_verified", Boolean, nullable=False, server_default="false"),
)
"""Users. Access tokens with a token_version below the user's are revoked; revoke_time is the latest revocation.

second_factor is whether the user has confirmed the one in second_factors. It is here to be read with the locked row.
email_verified is whether the user has shown to receive mail at the address.
"""

Index("users_revoked", users.c.revoke_time, postgresql_where=users.c.revoke_time.is_not(None))
Index("users_newest", users.c.create_time.desc(), users.c.id.desc())

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family_id", Uuid, nullable=False, index=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False, index=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
    Column("use_time", DateTime(timezone=True)),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_use_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("remote_address", Text, nullable=False, server_default=""),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("end_time", DateTime(timezone=True)),
)
"""Sessions. The family_id of a refresh token is the id of its session. end_time is set if it was ended early."""

Index("sessions_newest", sessions.c.user_id.desc(), sessions.c.create_time.desc(), sessions.c.id.desc())
Index("sessions_old", func.least(sessions.c.expire_time, sessions.c.end_time))
Index("sessions_ended", sessions.c.end_time, postgresql_where=sessions.c.end_time.is_not(None))

invitations = Table(
    "invitations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, index=True),
    Column("role", Text, nullable=False),
    Column("creator_id", ForeignKey(users.c.id), nullable=False, index=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
    Column("revoke_time", DateTime(timezone=True)),
    Column("user_id", ForeignKey(users.c.id)),
)
"""Invitations. user_id is the user who was created with the invitation."""

Index("invitations_newest", invitations.c.create_time.desc(), invitations.c.id.desc())

password_resets = Table(
    "password_resets",
    metadata,
    Column("user_id", ForeignKey(users.c.id), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
)
"""The token with which a user can set a new password."""

second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", ForeignKey(users.c.id), primary_key=True),
    Column("encrypted_secret", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False, server_default="0"),
)
"""Secrets of one-time passwords. Codes up to last_step, a number of 30 s intervals, are no longer valid."""

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("user_id", ForeignKey(users.c.id), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
)
"""The unused recovery codes of second factors."""

login_challenges = Table(
    "login_challenges",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False, index=True),
    Column("password_digest", LargeBinary, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
    Column("failures", Integer, nullable=False, server_default="0"),
)
"""Logins that wait for the code of the second factor. password_digest is the digest of the verified password's hash."""

mails = Table(
    "mails",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey(users.c.id)),
    Column("template", Text, nullable=False),
    Column("encrypted_content", LargeBinary),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("due_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("outcome", Text),
    Column("end_time", DateTime(timezone=True)),
)
"""The outbox of mails. The content is erased when a mail is sent, has failed or has expired, which end_time records."""

Index("mails_waiting", mails.c.due_time, postgresql_where=mails.c.end_time.is_(None))
Index("mails_ended", mails.c.end_time)
Index("mails_of_user", mails.c.user_id, mails.c.create_time)

mail_requests = Table(
    "mail_requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("email_key", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Requests for mails to addresses that may belong to no user. They are deleted when they have been processed."""

email_verifications = Table(
    "email_verifications",
    metadata,
    Column("user_id", ForeignKey(users.c.id), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("expire_time", DateTime(timezone=True), nullable=False, index=True),
)
"""The mailed token with which a user verifies the email address."""

mailed_invitations = Table(
    "mailed_invitations",
    metadata,
    Column("invitation_id", ForeignKey(invitations.c.id), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
)
"""The mailed tokens of invitations. They differ from the admin's tokens, so their use verifies the email address."""

clients = Table(
    "clients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("creator_id", ForeignKey(users.c.id), nullable=False, index=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True)),
    Column("revoke_time", DateTime(timezone=True)),
    Column("last_use_time", DateTime(timezone=True)),
)
"""Machine clients."""

Index("clients_newest", clients.c.create_time.desc(), clients.c.id.desc())

client_secrets = Table(
    "client_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", ForeignKey(clients.c.id), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expire_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
)
"""The secrets of clients. The tokens that a client obtains with a secret end with it, if it is ended early."""

Index("client_secrets_ended", client_secrets.c.end_time, postgresql_where=client_secrets.c.end_time.is_not(None))

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

_NEW_USER = (
    *("id", "email", "email_key", "username", "username_key", "username_skeleton", "password_hash", "role"),
    "email_verified",
)
_new_user: dict[str, Any] = {name: bindparam(name) for name in _NEW_USER}
INSERT_USER = Statement(insert(users).values(_new_user).returning(*users.c))
INSERT_USER_IF_NEW = Statement(upsert(users).values(_new_user).on_conflict_do_nothing())
GET_USER = Statement(select(users).where(users.c.id == bindparam("id")))
LOCK_USER = Statement(select(users).where(users.c.id == bindparam("id")).with_for_update(read=True))
LOCK_OWN_USER = Statement(select(users).where(users.c.id == bindparam("id")).with_for_update(key_share=True))
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
REVOKE_INVITATIONS = Statement(
    update(invitations)
    .where(
        invitations.c.creator_id == bindparam("creator"),
        invitations.c.user_id.is_(None),
        invitations.c.revoke_time.is_(None),
    )
    .values(revoke_time=func.now())
)
DELETE_RESETS = Statement(
    delete(password_resets).where(
        or_(password_resets.c.user_id == bindparam("id_of_user"), bindparam("of_all", type_=Boolean))
    )
)
REPLACE_PASSWORD_HASH = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
    .returning(users.c.id)
)
