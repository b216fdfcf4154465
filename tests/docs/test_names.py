"""Test names have at most 80 characters."""

import re

from tools.local.process import ROOT

MAX_CHARACTERS = 80
_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def test_test_names_have_at_most_80_characters() -> None:
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")]
    names = [name for text in texts for name in _TEST.findall(text)]
    assert len(names) > 1000
    assert [name for name in names if len(name) > MAX_CHARACTERS] == []
