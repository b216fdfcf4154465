"""Opaque cursors, which are valid unchanged and within their scope only."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.common.postgres import cursor

SCOPE = b"a query"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ((1, "ana"), tuple[int, str]),
        ((datetime(2026, 1, 31, 12, 0, 0, 123456, UTC), UUID(int=7)), tuple[datetime, UUID]),
        ((), tuple[()]),
        ("", str),
    ],
    ids=["integer and text", "time and UUID", "nothing", "empty text"],
)
def test_value_round_trips(value: Any, kind: Any) -> None:
    assert cursor.decode(cursor.encode(value, SCOPE), SCOPE, kind) == value


def test_cursor_needs_no_escaping_in_a_url() -> None:
    cursors = "".join(cursor.encode(number, SCOPE) for number in range(100))
    assert cursors.replace("-", "").replace("_", "").isalnum()


def test_cursor_of_another_scope_is_invalid() -> None:
    with pytest.raises(cursor.InvalidCursorError):
        cursor.decode(cursor.encode(1, b"another query"), SCOPE, int)


def test_value_of_another_type_is_invalid() -> None:
    with pytest.raises(cursor.InvalidCursorError):
        cursor.decode(cursor.encode("one", SCOPE), SCOPE, int)


def test_cursor_with_any_changed_character_is_invalid() -> None:
    valid = cursor.encode((123, "ana"), SCOPE)
    for position, character in enumerate(valid):
        changed = valid[:position] + ("A" if character != "A" else "B") + valid[position + 1 :]
        with pytest.raises(cursor.InvalidCursorError):
            cursor.decode(changed, SCOPE, tuple[int, str])


@pytest.mark.parametrize("text", ["", "A", "AAAA", "?", "ä", "A" * 100, " "])
def test_text_that_is_not_a_cursor_is_invalid(text: str) -> None:
    with pytest.raises(cursor.InvalidCursorError):
        cursor.decode(text, SCOPE, int)


@pytest.mark.parametrize("suffix", ["=", "==", "\n", " ", "!"])
def test_only_the_canonical_form_is_valid(suffix: str) -> None:
    with pytest.raises(cursor.InvalidCursorError):
        cursor.decode(cursor.encode(1, SCOPE) + suffix, SCOPE, int)
