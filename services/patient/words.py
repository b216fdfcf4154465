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


class Patterns(NamedTuple):
    """LIKE patterns by rank, one for each word of a query. A text that matches a pattern matches the later ones."""

    equal: list[str]
    prefix: list[str]
    part: list[str]
    searched: tuple[bool, ...]
    """Whether the index is searched for each word: all words, or only those that few patients share, if there are any.

    The index reads long lists for other words.
    """


def build_patterns(query: str) -> Patterns:
    """Returns the patterns of a query's words.

    A word of one or two letters is not searched inside other words.
    """
    words = list(dict.fromkeys(fold_words(query)))
    prefixes = [f"% {_to_ascii(word)}%" for word in words]
    return Patterns(
        equal=[f"{prefix[:-1]} %" for prefix in prefixes],
        prefix=prefixes,
        part=[
            prefix if len(word) < _LETTERS_OF_A_PART else f"%{prefix[2:]}"
            for word, prefix in zip(words, prefixes, strict=True)
        ],
        searched=_choose_searched(words),
    )


def _choose_searched(words: list[str]) -> tuple[bool, ...]:
    rare = tuple(len(word) >= _LETTERS_OF_A_NUMBER and any(map(str.isdigit, word)) for word in words)
    return rare if any(rare) else (True,) * len(words)


def _to_ascii(word: str) -> str:
    return _not_ascii.sub(lambda letter: "".join(f"U{byte:03o}" for byte in letter[0].encode()), word)
