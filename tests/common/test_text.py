"""Normalization and validation of text from users."""

import pytest

from services.common.text import (
    BIDIRECTIONAL,
    INVISIBLE,
    find_violation,
    fold_case,
    normalize,
    remove_ignorables,
)


@pytest.mark.parametrize("text", ["", "Ana", "Åsa Öberg", "李小龍", "אנה", "Ana\u200dMaria", "नमस्ते", "👩\u200d⚕️"])
def test_visible_text_has_no_violation(text: str) -> None:
    assert find_violation(text) is None


@pytest.mark.parametrize("character", ["\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069"], ids=ascii)
def test_bidirectional_control_is_a_violation(character: str) -> None:
    assert find_violation(f"Ana{character}Costa") == BIDIRECTIONAL


@pytest.mark.parametrize(
    "text", ["\u200b", "\u200d \u2060", "\u3164", "\u2800", "\u00a0\ufeff", "\U000e0041"], ids=ascii
)
def test_text_without_a_visible_character_is_a_violation(text: str) -> None:
    assert find_violation(text) == INVISIBLE


@pytest.mark.parametrize("character", ["\u00ad", "\u200b", "\u2060", "\ufe0f", "\ufeff", "\U000e0041"], ids=ascii)
def test_ignorable_code_points_are_removed(character: str) -> None:
    assert remove_ignorables(f"A{character}na{character}") == "Ana"


def test_visible_code_points_are_not_removed() -> None:
    assert remove_ignorables("Åsa 李 👩") == "Åsa 李 👩"


@pytest.mark.parametrize(
    ("text", "stored"),
    [("  Ana\t\n", "Ana"), ("A\u030asa", "Åsa"), ("\u3000Ana\u00a0", "Ana"), ("Ana  Costa", "Ana  Costa"), (" ", "")],
    ids=["ASCII white space", "combining ring", "Unicode white space", "inner white space", "only white space"],
)
def test_text_is_stored_in_nfc_without_surrounding_white_space(text: str, stored: str) -> None:
    assert normalize(text) == stored


@pytest.mark.parametrize(
    ("one", "other"),
    [("ANA", "ana"), ("Straße", "STRASSE"), ("Σίσυφος", "ΣΊΣΥΦΟΣ"), ("\u00c5sa", "a\u030asa"), (" Ana ", "ana")],
    ids=["ASCII", "sharp s", "final sigma", "combining ring", "white space"],
)
def test_key_is_equal_for_texts_that_differ_in_case(one: str, other: str) -> None:
    assert fold_case(one) == fold_case(other)


@pytest.mark.parametrize(("one", "other"), [("ana", "anna"), ("a", "á"), ("o", "0")])
def test_key_differs_for_other_texts(one: str, other: str) -> None:
    assert fold_case(one) != fold_case(other)


@pytest.mark.parametrize("text", ["ANA", "Straße", "ΐ", "\u0130", "\u01c5", "ﬁ"], ids=ascii)
def test_key_of_a_key_is_the_key(text: str) -> None:
    assert fold_case(fold_case(text)) == fold_case(text)
