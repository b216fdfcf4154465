"""Text that people typed."""

import re
from unicodedata import normalize

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The code points that Unicode calls Default_Ignorable: they have no glyph."""
_bidi = re.compile(f"[{_BIDI}]")
_ignorable = re.compile(f"[{_IGNORABLE}]")
_visible = re.compile(f"[^\\s{_IGNORABLE}\u2800]")  # U+2800 is the empty Braille pattern

BIDIRECTIONAL = "must not contain characters that control the direction of text (such as U+202E, U+2066 or U+200F)"
INVISIBLE = "must contain a visible character"


def violation(text: str) -> str | None:
    """Returns what is wrong with a text that people must be able to see as it is, None if nothing or if it is empty."""
    if text.isascii():
        return None
    if _bidi.search(text):
        return BIDIRECTIONAL
    return None if _visible.search(text) else INVISIBLE


def without_ignorables(text: str) -> str:
    """Returns a text without the code points that have no glyph."""
    return _ignorable.sub("", text)


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
