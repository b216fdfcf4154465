"""Folding of text for searches. Two spellings of a name that users type for each other have equal words.

The function `fold_words` of the patient database computes the same. A change here needs a migration that replaces it.
"""

import re
import unicodedata

FIELD_END = "\ue000"
"""Separates texts that are folded together: a number does not continue after it."""

_ACCENTS = r"\u00B4\u1FBD\u1FBF\u1FFD\u1FFE"
"""Accents in place of an apostrophe, which NFKD would replace with a space."""

_IGNORED = (
    r"'`\u00B7\u02B9-\u02BF\u02C8\u02CA\u02CB\u055A\u05F3\u05F4\u2018-\u201B\u2032\u2035\uA78B\uA78C"  # apostrophes
    r"\u0300-\u036F\u0483-\u0487\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20F0\uFE20-\uFE2F"  # accents of European scripts
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7"  # Hebrew points
    r"\u0610-\u061A\u0640\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7\u06E8\u06EA-\u06ED\u0730-\u074A"  # Arabic
    r"\u00AD\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF"
    r"\uFFF0-\uFFF8\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF"  # invisible
)
"""Characters of a word that users omit. Vowel signs and tone marks of Asian scripts distinguish words and are kept."""

_SEPARATORS = (
    r"\u0000-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u02C2-\u02DF\u037E\u055B-\u055F\u0589\u058A"
    r"\u05BE\u05C0\u05C3\u05C6\u0600-\u060F\u061B\u061D-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0970\u1680"
    r"\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF\u2E00-\u2E7F\u3000-\u3004\u3008-\u3020\u3030\u303D-\u303F\u30A0\u30FB"
    r"\uFFFC\uFFFD\U0001F000-\U0001FAFF"
)
"""White space, punctuation and symbols."""

_NUMBER_PUNCTUATION = r"\u0020\u0028\u0029\u002B\u002D-\u002F\u2010-\u2015\u2212"
"""What separates the digits of a phone number: spaces, parentheses, plus signs, dots, slashes and dashes."""

_IDEOGRAPHS = r"\u3005-\u3007\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF"

_LETTERS = str.maketrans(
    dict(zip("øłđðħıŧŋəɛɔɓɖɗɨʉƙƴȼɫɲ", "olddhitneeobddiukycln", strict=True))
    | {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "\u03c2": "\u03c3"}
)
"""Letters without a Unicode decomposition (from the CLDR transform Latin-ASCII), and the Greek final sigma."""

_accents = re.compile(f"[{_ACCENTS}]")
_ignored = re.compile(f"[{_IGNORED}]")
_ideograph = re.compile(f"([{_IDEOGRAPHS}])")
_separators = re.compile(f"[{_SEPARATORS}]+")
_inside_number = re.compile(f"(?<=[0-9])[{_NUMBER_PUNCTUATION}]+(?=[0-9])")


def fold_words(text: str) -> list[str]:
    """Returns the words of a text without case, accents, apostrophes and punctuation.

    Each ideograph is a word. A number is one word, with or without the punctuation of phone numbers.
    """
    letters = _ignored.sub("", unicodedata.normalize("NFKD", _accents.sub("", text))).lower().translate(_LETTERS)
    joined = _inside_number.sub("", letters)
    return _separators.sub(" ", _ideograph.sub(r" \1 ", joined)).replace(FIELD_END, " ").split()
