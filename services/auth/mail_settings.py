"""Parsing of the mail settings: the SMTP server, the sender, and the address of the web client."""

import re
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Meta

from services.common.emails import find_violation, to_ascii
from services.common.settings import SettingsError

SmtpUrl = Annotated[
    str,
    Meta(
        description="SMTP server that sends mail: `smtp://` (port 587, STARTTLS if the server offers it) or `smtps://` "
        "(port 465, TLS), with optional user:password@, which require TLS. If empty or `off`, no mail is sent."
    ),
]
MailFrom = Annotated[
    str, Meta(description="Sender of mail: `clinic@example.org` or `Clinic <clinic@example.org>`. Required for mail.")
]
PublicUrl = Annotated[
    str,
    Meta(
        description="URL of the web client, such as `https://clinic.example/console` for the console. Links in mail "
        "lead to its pages `/reset-password`, `/verify-email` and `/accept-invitation`, with `#token=`. If empty, mail "
        "contains the token without a link."
    ),
]

_MAILBOX = re.compile(r'(?:"?([^"<>]*[^"<> ])"? *(?=<.*>$))?<?([^<> ]+)>?')
"""An address, or a name and an address in angle brackets."""
_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, kw_only=True)
class MailConfig:
    """How mail is sent."""

    host: str
    port: int
    uses_tls: bool
    """Whether the connection begins with TLS. If not, STARTTLS is used if the server offers it."""
    sender: Address
    username: str = ""
    password: str = field(default="", repr=False)
    """With a user name, STARTTLS is required."""
    public_url: str = ""


def parse_mail_config(smtp_url: str, mail_from: str, public_url: str) -> MailConfig | None:
    """Returns the configuration, or None if no mail is sent. Raises SettingsError, without a password in its text."""
    if smtp_url in {"", "off"}:
        return None
    parts = _parse_smtp_url(smtp_url)
    if parts is None:
        raise SettingsError("PULSETRACK_SMTP_URL is not smtp://[user:password@]host[:port] or smtps://...")
    return MailConfig(
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        uses_tls=parts.scheme == "smtps",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=_parse_sender(mail_from),
        public_url=_parse_public_url(public_url),
    )


def _parse_smtp_url(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in _PORTS and parts.hostname and parts.port != 0  # reading the port can raise
    except ValueError:
        return None
    has_rest = parts.path not in {"", "/"} or parts.query or parts.fragment
    has_half_credentials = bool(parts.username) != bool(parts.password)
    return None if not is_valid or has_rest or has_half_credentials or not text.isprintable() else parts


def _parse_sender(text: str) -> Address:
    match = _MAILBOX.fullmatch(text) if text.isprintable() else None
    name, address = match.groups() if match else ("", "")
    if find_violation(address):
        raise SettingsError("PULSETRACK_MAIL_FROM is not an email address, or a name and <an email address>")
    local, _, domain = to_ascii(address).rpartition("@")
    return Address(name or "", local, domain)


def _parse_public_url(text: str) -> str:
    if text and not _is_public_url(text):
        raise SettingsError("PULSETRACK_PUBLIC_URL is not https://host[:port][/path]")
    return text.rstrip("/")


def _is_public_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text and not (parts.query or parts.fragment)
    return is_plain and parts.scheme in {"https", "http"} and parts.netloc != ""
