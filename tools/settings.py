"""Writes the table of all settings into docs/operations.md: `python -m tools.settings`."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from services.analytics.__main__ import AnalyticsSettings
from services.auth.__main__ import AuthSettings
from services.common.postgres.migrate import MigrationSettings
from services.common.settings import PREFIX, SettingsWithAuth
from services.patient.__main__ import PatientSettings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "operations.md"

CLASSES: dict[str, type[Struct]] = {
    "auth": AuthSettings,
    "patient": PatientSettings,
    "billing": SettingsWithAuth,
    "analytics": AnalyticsSettings,
    "migrations": MigrationSettings,
}
"""Who reads which class."""

_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)


def main() -> None:
    """Writes the table where the document has it."""
    DOCUMENT.write_text(insert_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def insert_table(document: str) -> str:
    """Returns a document with the table as it is now. Raises ValueError if it has no place for one."""
    if not _TABLE.search(document):
        raise ValueError("the document has no lines <!-- settings --> and <!-- /settings -->")
    table = "\n".join(_lines())
    return _TABLE.sub(lambda _: f"\n{table}\n\n", document)


def _lines() -> Iterator[str]:
    yield "| variable | default | read by | |"
    yield "|---|---|---|---|"
    readers: dict[tuple[str, str, str], list[str]] = {}
    for reader, settings in CLASSES.items():
        for row in _rows(settings):
            readers.setdefault(row, []).append(reader)
    services = set(CLASSES) - {"migrations"}
    for (variable, default, text), by in readers.items():
        named = "all" if set(by) == set(CLASSES) else "services" if set(by) == services else ", ".join(by)
        yield f"| `{variable}` | {default} | {named} | {text} |"


def _rows(settings: type[Struct]) -> Iterator[tuple[str, str, str]]:
    """Yields the variable, the default and the meaning of each setting."""
    for field in msgspec.structs.fields(settings):
        [meta] = [meta for meta in field.type.__metadata__ if isinstance(meta, Meta)]
        default = "required" if field.default is NODEFAULT else f"`{field.default}`" if field.default != "" else "none"
        yield PREFIX + field.name.upper(), default, meta.description or ""


if __name__ == "__main__":
    main()
