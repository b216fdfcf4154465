"""Verification of email addresses by mailed tokens."""

from datetime import UTC, datetime

from asyncpg import Record
from sqlalchemy import bindparam, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import SecurityEventType, VerifyEmailRequest
from services.auth.errors import VerificationTokenInvalid
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import TEXTS, Template
from services.auth.models import email_verifications, users
from services.auth.opaque_tokens import create_token, hash_token
from services.auth.security_events import record_security_event
from services.common.audit.events import record_actor
from services.common.postgres.database import Database, Transaction
from services.common.postgres.statement import Statement

VERIFY_EMAIL = Statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.email_verified.is_(False))
    .values(email_verified=true())
)

_row = email_verifications.c
_is_valid = (_row.digest == bindparam("digest"), _row.expire_time > func.now())
_new = upsert(email_verifications).values({name: bindparam(name) for name in ("user_id", "digest", "expire_time")})
_CREATE = Statement(
    _new.on_conflict_do_update(
        index_elements=[_row.user_id], set_={name: _new.excluded[name] for name in ("digest", "expire_time")}
    )
)
_LOCK_USER = Statement(
    select(users)
    .join(email_verifications)
    .where(*_is_valid, users.c.disabled.is_(False))
    .with_for_update(key_share=True, of=users)
)
_USE = Statement(delete(email_verifications).where(*_is_valid).returning(_row.user_id))


async def send_verification(tx: Transaction, mails: MailOutbox, user: Record) -> None:
    """Sends mail with a token that verifies the email address of a user, unless it is verified already."""
    if mails.is_enabled and not user["email_verified"]:
        token = create_token()
        expire_time = datetime.now(UTC) + TEXTS[Template.EMAIL_VERIFICATION].validity
        await tx.run(_CREATE, user_id=user["id"], digest=hash_token(token), expire_time=expire_time)
        mails.notify(tx, user, Template.EMAIL_VERIFICATION, token=token)


class EmailVerifications:
    """Verifies email addresses."""

    def __init__(self, db: Database, mails: MailOutbox) -> None:
        self._db = db
        self._mails = mails

    async def verify_email(self, request: VerifyEmailRequest) -> Empty:
        """Verifies the email address of a token's user. Raises VerificationTokenInvalid."""
        digest = hash_token(request.token)
        async with self._db.begin() as tx:
            user = await tx.row(_LOCK_USER, digest=digest)
            if user is None or await tx.row(_USE, digest=digest) is None:  # or a concurrent call was first
                raise VerificationTokenInvalid
            await tx.run(VERIFY_EMAIL, user_id=user["id"])
            self._mails.notify(tx, user, Template.EMAIL_VERIFIED)
            record_actor(user["id"])
            record_security_event(tx, SecurityEventType.EMAIL_VERIFIED, user["id"])
        return Empty()
