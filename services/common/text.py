"""Normalization and validation of text from users."""

import re
import unicodedata

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The code points with the Unicode property Default_Ignorable_Code_Point, which have no glyph."""
_BLANK = "\u2800\U0001d159"
"""The blank Braille pattern and the musical symbol null notehead, which have a glyph without ink."""
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
"""The code points that Unicode reserves for internal use of programs."""
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""The code points with the Unicode property White_Space. Python also counts U+001C to U+001F."""
_bidi = re.compile(f"[{_BIDI}]")
_ignorable = re.compile(f"[{_IGNORABLE}]")
_visible = re.compile(f"[^\\s{_IGNORABLE}{_BLANK}{_NONCHARACTERS}]")
_line_break = re.compile("\r\n?|[\u2028\u2029]")
_space = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")

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
    trimmed = text.strip(_WHITE_SPACE)
    return trimmed if trimmed.isascii() else unicodedata.normalize("NFC", trimmed)


def normalize_lines(text: str) -> str:
    """Returns the stored form of a text of several lines: normalized, with U+000A as the only line break."""
    return normalize(_line_break.sub("\n", text))


def prepare_password(password: str) -> str:
    """Returns the form of a password that is hashed: with the mappings of the profile OpaqueString (RFC 8265).

    Other spaces become U+0020, and the text becomes Unicode NFC. White space at the ends is part of a password.
    """
    return password if password.isascii() else unicodedata.normalize("NFC", _space.sub(" ", password))


def fold_case(text: str) -> str:
    """Returns a key that is equal for texts that differ only in case (Unicode default caseless matching)."""
    return unicodedata.normalize("NFC", normalize(text).casefold())
