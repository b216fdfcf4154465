"""Unit tests of the similarity of patients."""

import pytest

from gen.pulsetrack.patient.v1 import Patient
from services.patient.similarity import Similarity, compare_patients, compare_texts

PATIENT = Patient(
    name="Ana Silva",
    email="ana.silva@clinic.test",
    date_of_birth="1980-02-29",
    phone="+351 21 000 000",
    medical_record_number="MRN-100",
)


def test_equal_patients_have_similarity_1() -> None:
    fields = ["name", "date_of_birth", "phone", "email", "medical_record_number"]
    assert compare_patients(PATIENT, PATIENT) == Similarity(1, fields)


def test_empty_fields_are_not_similar() -> None:
    empty = Patient(date_of_birth="1980-02-29")
    assert compare_patients(empty, empty) == Similarity(0.3, ["date_of_birth"])


@pytest.mark.parametrize(
    ("other", "score"),
    [("1980-02-03", 0.3), ("1980-03-02", 0.2), ("1980-02-04", 0.2), ("1990-02-03", 0.2), ("1980-02-14", 0)],
)
def test_dates_are_similar_if_swapped_or_different_in_one_digit(other: str, score: float) -> None:
    patients = Patient(date_of_birth="1980-02-03"), Patient(date_of_birth=other)
    assert compare_patients(*patients).score == score


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("1980", "1980-02-03", 0.2),
        ("1980-02-03", "1980-02", 0.2),
        ("1980-02", "1980", 0.2),
        ("1980", "1980", 0.2),
        ("1980", "1981", 0),
        ("1980-02", "1980-03-02", 0),
    ],
)
def test_partial_dates_are_similar_if_one_contains_the_other(one: str, other: str, score: float) -> None:
    assert compare_patients(Patient(date_of_birth=one), Patient(date_of_birth=other)).score == score


@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [("Zoë Łuk", "luk, ZOE", 1), ("abc", "abd", 1 / 3), ("abc", "xyz", 0), ("", "abc", 0), ("", "", 0)],
)
def test_texts_are_compared_by_their_trigrams(one: str, other: str, similarity: float) -> None:
    assert compare_texts(one, other) == pytest.approx(similarity)
