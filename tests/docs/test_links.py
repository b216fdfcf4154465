"""Files, headings and tests named in Markdown documents exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_files_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_headings_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        (path, anchor)
        for path, anchor in links
        if anchor not in list_anchors(document.parent / path if path else document)
    ]
    assert missing == []


def list_anchors(path: Path) -> set[str]:
    """Returns the anchors of the headings of a document, as GitHub forms them."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_named_in_a_document_exist(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", document.read_text(encoding="utf-8"))
    missing = [(file, test) for file, test in named if not has_test(ROOT / file, test)]
    assert missing == []


def has_test(file: Path, test: str) -> bool:
    return file.exists() and (not test or f"\ndef {test}(" in file.read_text(encoding="utf-8"))
