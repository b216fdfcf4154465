"""Tests that every test listed in elsewhere.py exists."""

from pathlib import Path

import pytest

from tests.contract.elsewhere import ELSEWHERE, RULES

ROOT = Path(__file__).resolve().parents[2]
ROWS = {reason: (test,) for reason, test in ELSEWHERE.items()} | RULES


@pytest.mark.parametrize("row", ROWS)
def test_tests_of_a_row_exist(row: str) -> None:
    missing = [test for test in ROWS[row] if not exists(*test.split("::"))]
    assert missing == []


def exists(file: str, test: str) -> bool:
    return f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_test_of_a_reason_contains_the_reason(reason: str) -> None:
    file, test = ELSEWHERE[reason].split("::")
    _, definition, rest = (ROOT / file).read_text(encoding="utf-8").partition(f"\ndef {test}(")
    assert definition
    assert reason in rest.partition("\n\n\n")[0]
