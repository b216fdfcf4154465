"""Mail to users about events of other services."""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from sqlalchemy import Uuid, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from gen.google.protobuf import Empty
from gen.pulsetrack.auth.v1 import BreakGlassAccess, NotifyUsersRequest
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_templates import Template, format_time
from services.auth.models import GET_USER, users
from services.common.audit.events import record_read
from services.common.context import Caller
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement

_MAIL_IDS = UUID("0f2a6f5e-8a8e-4d4b-9a1c-1d0f5b6f2c11")
"""The namespace of the ids of mails that other services cause."""

_GET_USERS = Statement(select(users).where(users.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))))


class Notifications:
    """Adds the mail of other services to the outbox."""

    def __init__(self, db: Database, mails: MailOutbox) -> None:
        self._db = db
        self._mails = mails

    async def notify_users(self, request: NotifyUsersRequest, caller: Caller) -> Empty:
        """Adds a mail for each user, unless an earlier request has added it."""
        event = request.break_glass_access or BreakGlassAccess()
        async with self._db.begin() as tx:
            found = await tx.rows(_GET_USERS, ids=[UUID(user_id) for user_id in request.user_ids])
            record_read(user["id"] for user in found)
            actor = await tx.row(GET_USER, id=event.actor_id)
            parameters = {
                "actor": actor["username"] if actor else "",
                "actor_id": event.actor_id,
                "patient_id": event.patient_id,
                "occur_time": format_time(event.occur_time or datetime.now(UTC)),
            }
            mails = {uuid5(_MAIL_IDS, f"{caller.id} {user['id']} {request.request_id}"): user for user in found}
            await self._mails.notify_all(tx, mails, Template.BREAK_GLASS_ACCESS, parameters)
        return Empty()
