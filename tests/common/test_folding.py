"""Folding of text for searches."""

import unicodedata

import pytest

from services.common.folding import FIELD_END, fold_words

FOLDED = {
    "José PÉREZ": "jose perez",
    "Müller Łukasz Øyvind Đặng": "muller lukasz oyvind dang",
    "İbrahim I\u015f\u0131k": "ibrahim isik",
    "Straße STRASSE STRAẞE": "strasse strasse strasse",
    "Þórður Æsa Œuvre ħŋŧ": "thordur aesa oeuvre hnt",
    "O\u2019Neil O'Neil O\u02bcNeil O\u00b4Neil O`Neil": "oneil oneil oneil oneil oneil",
    "Jean-Luc,Anna.Maria/da_Silva": "jean luc anna maria da silva",
    "a\u00a0b\u3000c\u2003d  e": "a b c d e",
    "\uff26\uff35\uff2c\uff2c": "full",
    "ΟΔΟΣ οδός": "\u03bf\u03b4\u03bf\u03c3 \u03bf\u03b4\u03bf\u03c3",
    "Ёлкина Йод": "елкина иод",
    "שָׁלוֹם": "שלום",
    "مَرْيَم": "مريم",
    "王小明": "王 小 明",
    "Ana\u00ad \u200bLi\u200dma": "ana lima",
    "+351 (21) 000-000": "35121000000",
    "AB-12/7 x12\u20137": "ab 127 x127",
    "a1@2b": "a1 2b",
    f"12{FIELD_END}34": "12 34",
    "👨 % _ \\": "",
    "": "",
}


@pytest.mark.parametrize("text", FOLDED)
def test_words_of_a_text(text: str) -> None:
    assert fold_words(text) == FOLDED[text].split()


@pytest.mark.parametrize(
    ("one", "other"), [("मीना", "माना"), ("か", "が"), ("ก่อ", "ก้อ"), ("김", "긴"), ("Anna", "Ana")]
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert fold_words(one) != fold_words(other)


@pytest.mark.parametrize("text", FOLDED)
def test_words_do_not_depend_on_the_unicode_form(text: str) -> None:
    assert fold_words(unicodedata.normalize("NFC", text)) == fold_words(unicodedata.normalize("NFD", text))
