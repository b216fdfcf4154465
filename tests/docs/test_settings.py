"""The settings are documented as they are."""

from tools.settings import DOCUMENT, insert_table


def test_the_table_of_settings_is_the_one_of_the_classes() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == insert_table(document), "run: python -m tools.settings"
