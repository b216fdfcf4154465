"""The table in docs/localstack.md: how each resource type of the localstack environment is emulated, and where."""

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path("docs/localstack.md")

_ROW = re.compile(r"^\| `(AWS::\S+)` \| (\d+) \| (created|missing) \| (runs|recorded) \|$", re.MULTILINE)


class Row(NamedTuple):
    """A resource type: how many the templates have, and what the two emulators do with them."""

    number: int
    core: str
    standin: str


def read_table() -> dict[str, Row]:
    """Returns the rows of the table by resource type."""
    rows = _ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    return {kind: Row(int(count), core, standin) for kind, count, core, standin in rows}
