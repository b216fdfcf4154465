"""How similar two patients are, from 0 to 1: the sum of the weights of the fields that are equal or similar."""

from datetime import date
from typing import NamedTuple

from gen.pulsetrack.patient.v1 import Patient
from services.common.folding import fold_words
from services.common.periods import is_partial

_NAME = 0.45
_DATE_OF_BIRTH, _SIMILAR_DATE = 0.3, 0.2
_PHONE = 0.15
_EMAIL = _RECORD_NUMBER = 0.05

_SIMILAR = 0.6
"""The share of common trigrams from which texts are similar."""


class Similarity(NamedTuple):
    """The similarity of two patients."""

    score: float
    fields: list[str]
    """The names of the fields that are equal or similar."""


def compare_patients(one: Patient, other: Patient) -> Similarity:
    """Returns the similarity of two patients. Case, accents, punctuation and the order of words do not count."""
    name = compare_texts(one.name, other.name)
    weights = {
        "name": _NAME if name > _SIMILAR else 0,
        "date_of_birth": _compare_dates(one.date_of_birth, other.date_of_birth),
        "phone": _PHONE if (phone := fold_words(one.phone)) and phone == fold_words(other.phone) else 0,
        "email": _EMAIL if compare_texts(_local_part(one.email), _local_part(other.email)) > _SIMILAR else 0,
        "medical_record_number": (
            _RECORD_NUMBER if compare_texts(one.medical_record_number, other.medical_record_number) > _SIMILAR else 0
        ),
    }
    score = sum(weights.values()) - weights["name"] + _NAME * name
    return Similarity(round(score, 3), [field for field, weight in weights.items() if weight])


def compare_texts(one: str, other: str) -> float:
    """Returns the share of the trigrams of two texts that they have in common, as pg_trgm's `similarity`."""
    trigrams, others = _trigrams(one), _trigrams(other)
    return len(trigrams & others) / (len(trigrams | others) or 1)


def _trigrams(text: str) -> set[str]:
    padded = (f"  {word} " for word in fold_words(text))
    return {word[start : start + 3] for word in padded for start in range(len(word) - 2)}


def _compare_dates(one: str, other: str) -> float:
    if is_partial(one) or is_partial(other):
        return _SIMILAR_DATE if one.startswith(other) or other.startswith(one) else 0
    if one == other:
        return _DATE_OF_BIRTH
    first, second = date.fromisoformat(one), date.fromisoformat(other)
    is_swapped = (first.year, first.month, first.day) == (second.year, second.day, second.month)
    differing = sum(a != b for a, b in zip(one, other, strict=True))
    return _SIMILAR_DATE if is_swapped or differing == 1 else 0


def _local_part(email: str) -> str:
    return email.rpartition("@")[0]
