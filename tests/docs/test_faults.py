"""Each fault in the table of docs/operations.md names its tests. That they exist is checked in test_links.py."""

import re

import pytest

from tools.local.process import ROOT

_TABLE = re.compile(r"\n## Faults\n.*?\n\|---\|---\|---\|\n(.*?)\n\n", re.DOTALL)


def read_rows() -> list[str]:
    """Returns the rows of the table."""
    [table] = _TABLE.findall((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    return str(table).splitlines()


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_fault_names_a_test(row: str) -> None:
    fault, outcome, tests = row.strip("| ").split(" | ")
    assert fault
    assert outcome
    assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`(, `tests/[\w/]+\.py::test_\w+`)*", tests)
