"""SECURITY.md names tests that exist."""

import re

import pytest

from tools.local.process import ROOT

_NAMED = re.compile(r"`((?:tests/[\w/]+\.py)?(?:::test_\w+)?)(?:\[[^`]*\])?`")


def find_named_tests() -> list[tuple[str, str]]:
    """Returns the file and the name of each test. A name that begins with `::` is in the file named before it."""
    found, file = [], ""
    for name in filter(None, _NAMED.findall((ROOT / "SECURITY.md").read_text(encoding="utf-8"))):
        path, _, test = name.partition("::")
        file = path or file
        found.append((file, test))
    return found


@pytest.mark.parametrize(("file", "test"), sorted(set(find_named_tests())))
def test_named_test_exists(file: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else (ROOT / file).is_file()
