"""Normalization and validation of text from users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.text import (
    BIDIRECTIONAL,
    INVISIBLE,
    find_violation,
    fold_case,
    normalize,
    normalize_lines,
    prepare_password,
    remove_ignorables,
)


@pytest.mark.parametrize("text", ["", "Ana", "Åsa Öberg", "李小龍", "אנה", "Ana\u200dMaria", "नमस्ते", "👩\u200d⚕️"])
def test_visible_text_has_no_violation(text: str) -> None:
    assert find_violation(text) is None


@pytest.mark.parametrize("character", ["\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069"], ids=ascii)
def test_bidirectional_control_is_a_violation(character: str) -> None:
    assert find_violation(f"Ana{character}Costa") == BIDIRECTIONAL


@pytest.mark.parametrize(
    "text",
    [
        "\u200b",
        "\u200d \u2060",
        "\u3164",
        "\u2800",
        "\u00ad",
        "\u00a0\ufeff",
        "\U000e0041",
        "\uffff",
        "\ufdd0\U0010fffe",
    ],
    ids=ascii,
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


@pytest.mark.parametrize("text", ["\x1fAna", "Ana\x1c", "\u200bAna", "Ana"], ids=ascii)
def test_other_invisible_characters_at_the_ends_are_not_trimmed(text: str) -> None:
    assert normalize(text) == text


@given(st.text())
def test_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    for normal_form in (normalize, normalize_lines, prepare_password):
        assert normal_form(normal_form(text)) == normal_form(text)


@pytest.mark.parametrize(
    ("text", "stored"),
    [("a\r\nb", "a\nb"), ("a\rb", "a\nb"), ("a\n\rb", "a\n\nb"), ("a\u2028b\u2029", "a\nb"), ("\na\nb\r", "a\nb")],
    ids=ascii,
)
def test_line_breaks_are_stored_as_line_feeds(text: str, stored: str) -> None:
    assert normalize_lines(text) == stored


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        (" a b ", " a b "),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("a\u00a0\u3000b", "a  b"),
        ("\ufb01\uff21", "\ufb01\uff21"),
    ],
    ids=ascii,
)
def test_password_is_prepared_as_an_opaque_string(password: str, prepared: str) -> None:
    assert prepare_password(password) == prepared


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
