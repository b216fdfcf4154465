"""Text that people typed."""

import re
from unicodedata import normalize


def normalized(text: str) -> str:
    """Returns text as it is stored: in Unicode NFC, without white space around it."""
    return normalize("NFC", text).strip()


def key(text: str) -> str:
    """Returns what two texts have in common that differ only in case (Unicode's default caseless matching)."""
    return normalize("NFC", normalized(text).casefold())


def like_pattern(query: str) -> str:
    """Returns the LIKE pattern, with a backslash as its escape, that finds a query as a part of a key."""
    escaped = re.sub(r"([%_\\])", r"\\\1", key(query))
    return f"%{escaped}%"
