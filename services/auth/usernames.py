"""Detection of deceptive usernames, based on the skeletons of Unicode Technical Standard 39, section 4.

Two usernames that look the same have the same skeleton, which is unique.
"""

import unicodedata

from services.common.text import remove_ignorables

_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u04cf\u0475\u04af\u0433\u043a"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03c5\u03c7\u03ba\u03b3"
    "\u0561\u0585\u057d\u0570\u0581\u0578\u0566\u0572"
    "\u0131\u0251\u0261\u026a\u0138",
    "aeopcyxijsdhqwlvyrkaopviuxkywouhgnqniagik",
)
"""Maps lower-case Cyrillic, Greek, Armenian and rare Latin letters to the Latin letter that they look like."""

_EAST_ASIAN_SCRIPTS = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}
"""Scripts that one username may combine."""

INVISIBLE = "must not contain invisible characters"
MIXED = "must not mix letters of different scripts"


def build_skeleton(username: str) -> str:
    """Returns the form that usernames share if they differ only in case, width or look-alike letters."""
    folded = remove_ignorables(unicodedata.normalize("NFKC", username)).casefold()
    letters = unicodedata.normalize("NFKD", folded).translate(_LOOK_ALIKES)  # decomposed, so accented letters map too
    return unicodedata.normalize("NFC", letters)


def find_violation(username: str) -> str | None:
    """Returns a description of what makes a username deceptive, or None if it is acceptable.

    Letters that look Latin count as Latin. A username that looks like another one is rejected only if the other exists.
    """
    if remove_ignorables(username) != username:
        return INVISIBLE
    forms = unicodedata.normalize("NFKC", username).casefold(), build_skeleton(username)
    scripts = [{_find_script(letter) for letter in form if letter.isalpha()} for form in forms]
    return None if min(map(len, scripts)) <= 1 else MIXED


def _find_script(letter: str) -> str:
    script = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "EAST ASIAN" if script in _EAST_ASIAN_SCRIPTS else script
