"""An SMTP server that keeps the messages it receives."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.auth.mail_settings import MailConfig, parse_mail_config
from tests.harness.waiting import eventually

SENDER = "PulseTrack <no-reply@pulsetrack.test>"
USERNAME, PASSWORD = "pulse", "p@ss/word"


@dataclass
class Mailbox:
    """The messages that a server has received, and the responses that it gives instead of accepting them."""

    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    """The recipients of the envelopes, in the same order."""
    responses: dict[str, list[str]] = field(default_factory=dict)
    """The responses to the next messages to an address."""
    connections: int = 0
    port: int = 0

    def config(self, scheme: str = "smtp", credentials: str = "", public_url: str = "") -> MailConfig:
        """Returns the configuration of a client."""
        config = parse_mail_config(f"{scheme}://{credentials}127.0.0.1:{self.port}", SENDER, public_url)
        assert config
        return config

    def find(self, address: str) -> list[EmailMessage]:
        """Returns the messages to an address."""
        return [each for each, to in zip(self.received, self.recipients, strict=True) if to == address]

    def wait_for(self, address: str, count: int = 1) -> list[EmailMessage]:
        """Returns the messages to an address once there are so many."""
        return eventually(lambda: (len(found := self.find(address)) >= count and found) or [])

    async def handle_RCPT(  # noqa: N802 - aiosmtpd defines the names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if responses := self.responses.get(address):
            return responses.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        [recipient] = envelope.rcpt_tos
        self.received.append(message_from_bytes(envelope.content.replace(b"\r\n", b"\n"), EmailMessage, policy=default))
        self.recipients.append(recipient)
        return "250 OK"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Accepts one user."""
    is_valid = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USERNAME.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=is_valid, handled=is_valid)


@asynccontextmanager
async def serve_mail(
    mailbox: Mailbox | None = None, *, tls: ssl.SSLContext | None = None, implicit: bool = False, port: int = 0
) -> AsyncIterator[Mailbox]:
    """Serves a mailbox, with STARTTLS if a context is given, or with TLS from the beginning."""
    mailbox = mailbox or Mailbox()

    def build() -> SMTP:
        mailbox.connections += 1
        return SMTP(
            mailbox,
            hostname="mail.test",
            tls_context=None if implicit else tls,
            authenticator=authenticate,
            auth_require_tls=not implicit,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(build, "127.0.0.1", port or mailbox.port, ssl=tls if implicit else None)
    mailbox.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mailbox
