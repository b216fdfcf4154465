"""What a table says is tested elsewhere is tested there."""

from pathlib import Path

import pytest

from tests.contract.elsewhere import ELSEWHERE, PROMISES

ROOT = Path(__file__).resolve().parents[2]
ROWS = {reason: (test,) for reason, test in ELSEWHERE.items()} | PROMISES


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    missing = [test for test in ROWS[row] if not is_there(*test.split("::"))]
    assert missing == []


def is_there(file: str, test: str) -> bool:
    return f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", ELSEWHERE)
def test_the_test_of_a_reason_names_it(reason: str) -> None:
    file, test = ELSEWHERE[reason].split("::")
    _, found, rest = (ROOT / file).read_text(encoding="utf-8").partition(f"\ndef {test}(")
    assert found
    assert reason in rest.partition("\n\n\n")[0]
