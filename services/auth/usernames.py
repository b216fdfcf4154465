"""Usernames that look alike are one: the skeleton of a username, after Unicode Technical Standard 39, section 4."""

import unicodedata

from services.common.text import remove_ignorables

_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u04cf\u0475\u04af\u0433\u043a"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03c5\u03c7\u03ba\u03b3"
    "\u0561\u0585\u057d\u0570\u0581\u0578\u0566\u0572"
    "\u0131\u0251\u0261\u026a\u0138",
    "aeopcyxijsdhqwlvyrkaopviuxkywouhgnqniagik",
)
"""Lower-case letters of Cyrillic, Greek, Armenian and rare Latin, and the Latin letter that each is taken for."""

_TOGETHER = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}
"""Scripts that one word may mix."""

INVISIBLE = "must not contain characters that cannot be seen"
MIXED = "must not mix letters of several scripts"


def skeleton(username: str) -> str:
    """Returns what usernames have in common that differ only in case, width, or letters that look the same."""
    folded = remove_ignorables(unicodedata.normalize("NFKC", username)).casefold()
    letters = unicodedata.normalize("NFKD", folded).translate(_LOOK_ALIKES)  # without the accents on them
    return unicodedata.normalize("NFC", letters)


def violation(username: str) -> str | None:
    """Returns what is wrong with a username of the right form, None if nothing is.

    Letters of other scripts that look Latin are judged as the Latin ones: a look-alike is refused only if it is taken.
    """
    if remove_ignorables(username) != username:
        return INVISIBLE
    forms = unicodedata.normalize("NFKC", username).casefold(), skeleton(username)
    scripts = [{_script(letter) for letter in form if letter.isalpha()} for form in forms]
    return None if min(map(len, scripts)) <= 1 else MIXED


def _script(letter: str) -> str:
    script = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "EAST ASIAN" if script in _TOGETHER else script
