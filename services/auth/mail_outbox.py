"""The outbox of mails: a mail is written in the transaction of the change that causes it, and sent afterwards."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from asyncpg import Record
from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from services.auth.mail_templates import TEXTS, Template
from services.auth.models import mails
from services.auth.secret_cipher import SecretCipher
from services.common.postgres.database import Transaction
from services.common.postgres.statement import Statement

_NEW = ("id", "user_id", "template", "encrypted_content", "create_time", "due_time", "expire_time")
_INSERT = Statement(insert(mails).values({name: bindparam(name) for name in _NEW}).on_conflict_do_nothing())


class Content(msgspec.Struct, frozen=True):
    """The part of a mail that is encrypted until it is sent."""

    recipient: str
    parameters: dict[str, str]


class MailOutbox:
    """Adds mails to transactions. Adds none if no mail server is configured."""

    def __init__(self, passphrase: str, *, is_enabled: bool) -> None:
        self.is_enabled = is_enabled
        self._cipher = SecretCipher(passphrase, purpose="mails")
        self._on_commit: Callable[[], None] | None = None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Sets the function that is called after this process has committed mails."""
        self._on_commit = callback

    def notify(self, tx: Transaction, user: Record, template: Template, **parameters: str) -> None:
        """Adds a mail to a user, unless the user is disabled."""
        if not user["disabled"]:
            self.add(tx, template, user["email"], parameters, user_id=user["id"])

    async def notify_all(
        self, tx: Transaction, users: Mapping[UUID, Record], template: Template, parameters: dict[str, str]
    ) -> None:
        """Adds a mail to each enabled user. Takes the users by the ids of their mails, which exist only once."""
        if self.is_enabled:
            rows = [
                self._to_row(mail_id, template, user["email"], parameters, user["id"])
                for mail_id, user in users.items()
                if not user["disabled"]
            ]
            await tx.run_many(_INSERT, rows)
            self._wake_after_commit(tx)

    def add(
        self,
        tx: Transaction,
        template: Template,
        recipient: str,
        parameters: dict[str, str],
        *,
        user_id: UUID | None = None,
        expire_time: datetime | None = None,
    ) -> None:
        """Adds a mail to an address. It is not sent after the expiration time, by default that of the template."""
        if self.is_enabled:
            row = self._to_row(uuid7(), template, recipient, parameters, user_id)
            tx.add(_INSERT, **row | ({"expire_time": expire_time} if expire_time else {}))
            self._wake_after_commit(tx)

    def _wake_after_commit(self, tx: Transaction) -> None:
        if self._on_commit:
            tx.after_commit(self._on_commit)

    def _to_row(
        self, mail_id: UUID, template: Template, recipient: str, parameters: dict[str, str], user_id: UUID | None
    ) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {
            "id": mail_id,
            "user_id": user_id,
            "template": template.value,
            "encrypted_content": self.encrypt(mail_id, recipient, parameters),
            "create_time": now,
            "due_time": now,
            "expire_time": now + TEXTS[template].validity,
        }

    def encrypt(self, mail_id: UUID, recipient: str, parameters: dict[str, str]) -> bytes:
        """Returns the content of a mail as it is stored."""
        return self._cipher.encrypt(msgspec.json.encode(Content(recipient, parameters)), mail_id)

    def open(self, mail: Record) -> Content:
        """Returns the content of a stored mail. Raises InvalidTag if the passphrase has changed."""
        return msgspec.json.decode(self._cipher.decrypt(mail["encrypted_content"], mail["id"]), type=Content)
