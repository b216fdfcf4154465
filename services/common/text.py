"""Normalization and validation of text from users."""

import re
import unicodedata

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The code points with the Unicode property Default_Ignorable_Code_Point, which have no glyph."""
_bidi = re.compile(f"[{_BIDI}]")
_ignorable = re.compile(f"[{_IGNORABLE}]")
_visible = re.compile(f"[^\\s{_IGNORABLE}\u2800]")  # U+2800 is the blank Braille pattern

BIDIRECTIONAL = "must not contain characters that control the direction of text (such as U+202E, U+2066 or U+200F)"
INVISIBLE = "must contain a visible character"


def find_violation(text: str) -> str | None:
    """Returns why a text could be displayed differently from its stored form, or None if it is safe or empty."""
    if text.isascii():
        return None
    if _bidi.search(text):
        return BIDIRECTIONAL
    return None if _visible.search(text) else INVISIBLE


def remove_ignorables(text: str) -> str:
    """Removes the code points that have no glyph."""
    return _ignorable.sub("", text)


def normalize(text: str) -> str:
    """Returns the stored form of a text: Unicode NFC, without leading and trailing white space."""
    return unicodedata.normalize("NFC", text).strip()


def fold_case(text: str) -> str:
    """Returns a key that is equal for texts that differ only in case (Unicode default caseless matching)."""
    return unicodedata.normalize("NFC", normalize(text).casefold())
