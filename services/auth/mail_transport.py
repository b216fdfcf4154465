"""Messages (RFC 5322) and their transport to the configured SMTP server."""

import asyncio
import ssl
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID

import aiosmtplib

from services.auth.mail_settings import MailConfig
from services.common.emails import to_ascii

_CONNECT_SECONDS = 30.0
_SEND_SECONDS = 60.0
"""The time that a message may take. A message whose acceptance came later would be sent again."""
_QUIT_SECONDS = 1.0
_PERMANENT = range(500, 600)
_POLICY = SMTP.clone(cte_type="7bit")  # for servers without 8BITMIME

_FAILURES = (aiosmtplib.SMTPException, OSError, TimeoutError)


class ServerUnavailableError(Exception):
    """Raised when the server cannot be used: the connection, TLS or the login failed. Nothing was sent."""


class MessageDeferredError(Exception):
    """Raised when the server did not accept a message, but may do so later."""


class MessageRejectedError(Exception):
    """Raised when the server will not accept a message."""


def build_message(
    sender: Address, recipient: str, subject: str, body: str, *, mail_id: UUID, time: datetime
) -> EmailMessage:
    """Returns a plain-text message. Raises ValueError if a header would contain a line break.

    The message of a mail is the same in every attempt, including the Message-ID, by which servers detect duplicates.
    """
    message = EmailMessage(_POLICY)
    message["From"] = sender
    local, _, domain = to_ascii(recipient).rpartition("@")
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = subject
    message["Date"] = time
    message["Message-ID"] = f"<{mail_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic replies
    message.set_content(body)
    return message


class MailTransport:
    """A connection to the SMTP server, which is opened on demand."""

    def __init__(self, config: MailConfig, tls: ssl.SSLContext | None = None) -> None:
        """Takes the TLS context, by default one that requires a certificate of a public authority."""
        self._config = config
        self._tls = tls or ssl.create_default_context()
        self._connection: aiosmtplib.SMTP | None = None

    async def send(self, message: EmailMessage) -> None:
        """Sends a message. Raises ServerUnavailableError, MessageDeferredError, MessageRejectedError."""
        connection = await self._connect()
        recipient = message["To"].addresses[0].addr_spec
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await connection.sendmail(self._config.sender.addr_spec, [recipient], message.as_bytes())
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _classify(error.recipients[0].code) from error
        except aiosmtplib.SMTPSenderRefused as error:  # concerns the configuration, and so every mail
            raise MessageDeferredError(f"the server rejected the sender with code {error.code}") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _classify(error.code) from error
        except _FAILURES as error:
            self._drop()
            raise MessageDeferredError(f"the connection failed: {error!r}") from error
        except BaseException:
            self._drop()
            raise

    async def close(self) -> None:
        """Ends the connection."""
        if (connection := self._connection) and connection.is_connected:
            try:
                await connection.quit(timeout=_QUIT_SECONDS)
            except _FAILURES:
                connection.close()
        self._connection = None

    async def _connect(self) -> aiosmtplib.SMTP:
        if self._connection and self._connection.is_connected:
            return self._connection
        config = self._config
        connection = aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port,
            username=config.username or None,
            password=config.password or None,
            local_hostname=config.sender.domain,
            timeout=_SEND_SECONDS,
            use_tls=config.uses_tls,
            start_tls=False if config.uses_tls else True if config.username else None,
            tls_context=self._tls,
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection.connect()
        except _FAILURES as error:
            raise ServerUnavailableError(_describe(error)) from error
        self._connection = connection
        return connection

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _classify(code: int) -> MessageDeferredError | MessageRejectedError:
    kind = MessageRejectedError if code in _PERMANENT else MessageDeferredError
    return kind(f"the server responded with code {code}")


def _describe(error: BaseException) -> str:
    """Returns a description without the text of a response, which can contain an address."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{type(error).__name__}: code {error.code}"
    return repr(error)
