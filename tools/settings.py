"""Generates the table of settings in docs/operations.md: `python -m tools.settings`."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from services.analytics.__main__ import AnalyticsSettings
from services.auth.__main__ import AuthSettings
from services.billing.__main__ import BillingSettings
from services.common.audit.retain import RetentionSettings
from services.common.postgres.migrate import MigrationSettings
from services.common.settings import PREFIX
from services.patient.__main__ import PatientSettings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "operations.md"

CLASSES: dict[str, type[Struct]] = {
    "auth": AuthSettings,
    "patient": PatientSettings,
    "billing": BillingSettings,
    "analytics": AnalyticsSettings,
    "migrations": MigrationSettings,
    "retention": RetentionSettings,
}
"""The settings classes by the programs that read them."""

_SERVICES = {"auth", "patient", "billing", "analytics"}

_TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)


def main() -> None:
    """Replaces the table in the document."""
    DOCUMENT.write_text(insert_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def insert_table(document: str) -> str:
    """Returns a document with the current table. Raises ValueError if the document has no markers for it."""
    if not _TABLE.search(document):
        raise ValueError("the document has no markers <!-- settings --> and <!-- /settings -->")
    table = "\n".join(_generate_lines())
    return _TABLE.sub(lambda _: f"\n{table}\n\n", document)


def _generate_lines() -> Iterator[str]:
    yield "| variable | default | read by | description |"
    yield "|---|---|---|---|"
    readers: dict[tuple[str, str, str], list[str]] = {}
    for reader, settings in CLASSES.items():
        for row in _generate_rows(settings):
            readers.setdefault(row, []).append(reader)
    for (variable, default, text), by in readers.items():
        names = "all" if set(by) == set(CLASSES) else "services" if set(by) == _SERVICES else ", ".join(by)
        yield f"| `{variable}` | {default} | {names} | {text} |"


def _generate_rows(settings: type[Struct]) -> Iterator[tuple[str, str, str]]:
    """Yields the variable, the default and the description of each setting."""
    for field in msgspec.structs.fields(settings):
        [meta] = [meta for meta in field.type.__metadata__ if isinstance(meta, Meta)]
        default = "required" if field.default is NODEFAULT else f"`{field.default}`" if field.default != "" else "none"
        yield PREFIX + field.name.upper(), default, meta.description or ""


if __name__ == "__main__":
    main()
