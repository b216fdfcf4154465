"""Email addresses with internationalized domains. The local part is ASCII."""

import re

import idna

from services.common.text import fold_case, normalize

INVALID = "must be a valid email address"

_MAX_LENGTH = 254
_MAX_DOMAIN_LENGTH = 253
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_address = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
"""The addresses that HTML's `<input type="email">` accepts, which excludes quoted local parts and comments."""


def find_violation(address: str) -> str | None:
    """Returns INVALID if a text is not an email address, or None if it is one.

    The limits apply to the form with an ASCII domain, in which mail is sent.
    """
    ascii_address = to_ascii(address)
    return None if len(ascii_address) <= _MAX_LENGTH and _address.fullmatch(ascii_address) else INVALID


def to_ascii(address: str) -> str:
    """Returns an email address with its domain as A-labels (RFC 5890), the form in which mail is sent."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{_encode_domain(domain)}"


def build_key(address: str) -> str:
    """Returns a key that addresses of the same mailbox share: case folded, with the domain as A-labels (RFC 5890).

    A text that is not an email address has a key too, because users type other texts at login.
    """
    local, at, domain = normalize(address).rpartition("@")
    return f"{fold_case(local)}{at}{_encode_domain(domain) or fold_case(domain)}"


def _encode_domain(domain: str) -> str:
    """Returns a domain in lower case and as A-labels (UTS 46, non-transitional). Empty if it has no such form."""
    if domain.isascii():
        return domain.lower()
    if len(domain) > _MAX_DOMAIN_LENGTH:
        return ""
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return ""
