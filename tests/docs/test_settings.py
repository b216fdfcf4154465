"""The table of settings in the documentation is current."""

from tools.settings import DOCUMENT, insert_table


def test_settings_table_matches_the_settings_classes() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == insert_table(document), "run: python -m tools.settings"
