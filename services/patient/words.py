"""The words of a query, as patterns of the words of patients.

A patient's words are stored in ASCII with a space before and after each: a letter that is not ASCII is stored as its
UTF-8 bytes, each as `U` and three octal digits. pg_trgm indexes ASCII in every locale, and folded words contain no `U`.
"""

import re
from typing import NamedTuple

from services.common.folding import fold_words

MAX_WORDS = 10

_not_ascii = re.compile("[^\x00-\x7f]")
_LETTERS_OF_A_PART = 3
"""A trigram index finds parts of words from three letters on."""
_LETTERS_OF_A_NUMBER = 7
"""A word with digits and so many letters is part of a number or an email address that few patients share."""
_LETTERS_OF_ITS_END = 5
"""The number of its last letters that the index is searched for. Many numbers and addresses begin alike."""


class Patterns(NamedTuple):
    """LIKE patterns by rank, one for each word of a query: a text that matches a pattern matches the later ones."""

    equal: list[str]
    prefix: list[str]
    part: list[str]
    searched: list[str]
    """The patterns that the index is searched for. A patient that matches all words matches them.

    They are the ends of the words that few patients share, if there are any, because the index reads long lists for
    other words. Otherwise they are all words.
    """


def build_patterns(query: str) -> Patterns:
    """Returns the patterns of a query's words.

    A word of one or two letters is not searched inside other words.
    """
    words = list(dict.fromkeys(fold_words(query)))
    prefixes = [f"% {_to_ascii(word)}%" for word in words]
    part = [
        prefix if len(word) < _LETTERS_OF_A_PART else f"%{prefix[2:]}"
        for word, prefix in zip(words, prefixes, strict=True)
    ]
    return Patterns(
        equal=[f"{prefix[:-1]} %" for prefix in prefixes],
        prefix=prefixes,
        part=part,
        searched=[f"%{_to_ascii(word[-_LETTERS_OF_ITS_END:])}%" for word in words if _is_rare(word)] or part,
    )


def to_stored_words(text: str) -> str:
    """Returns the folded words of a text, as they are stored."""
    return " ".join(map(_to_ascii, fold_words(text)))


def _is_rare(word: str) -> bool:
    return len(word) >= _LETTERS_OF_A_NUMBER and any(map(str.isdigit, word))


def _to_ascii(word: str) -> str:
    return _not_ascii.sub(lambda letter: "".join(f"U{byte:03o}" for byte in letter[0].encode()), word)
