"""Keyset pagination, without a database."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, select

from gen.pulsetrack.patient.v1 import ListPatientRevisionsRequest, ListPatientsRequest
from services.common.errors import PageTokenInvalid, ValueRejected
from services.common.postgres import cursor
from services.common.postgres.database import Database
from services.common.postgres.paging import DEFAULT_PAGE_SIZE, Listing
from services.common.postgres.statement import Statement
from services.common.protobuf import codec

WORDS = Table("words", MetaData(), Column("word", Text, nullable=False), Column("number", Integer, nullable=False))
ASCENDING = Listing(select(WORDS), WORDS.c.word, WORDS.c.number, descending=[False, False])
DESCENDING = Listing(select(WORDS), WORDS.c.word, WORDS.c.number)

Row = dict[str, Any]


class FakeDatabase:
    """Returns the rows of the words table as the statements of a listing select them."""

    def __init__(self, *rows: tuple[str, int]) -> None:
        self.statements: list[Statement] = []
        self._rows = sorted(rows)

    async def rows(self, statement: Statement, *, limit: int, **values: Any) -> Sequence[Row]:
        """Returns the rows after the position in the values, in the statement's order."""
        self.statements.append(statement)
        descending = "DESC" in statement.sql
        rows = self._rows[::-1] if descending else self._rows
        if values:
            after = values["after_word"], values["after_number"]
            rows = [row for row in rows if (row < after if descending else row > after)]
        return [{"word": word, "number": number} for word, number in rows[:limit]]


class FailingDatabase:
    """Rejects all values."""

    async def rows(self, *_: object, **__: object) -> Sequence[Row]:
        """Raises ValueRejected."""
        raise ValueRejected


def read(listing: Listing, db: object, request: Any) -> tuple[list[str], str]:
    """Returns the words of a page, and the token of the next page."""
    rows, token = asyncio.run(listing.read_page(cast("Database", db), request))
    return [row["word"] for row in rows], token


def read_all(listing: Listing, db: object, page_size: int) -> list[list[str]]:
    """Returns the words of all pages."""
    pages, token = [], ""
    while True:
        words, token = read(listing, db, ListPatientsRequest(page_size=page_size, page_token=token))
        pages.append(words)
        if not token:
            return pages


def encode(values: object, request: Any) -> str:
    """Returns a page token with any values, as an attacker can build it."""
    kind = type(request)
    return cursor.encode(values, codec.full_name(kind).encode() + codec.codec_of(kind).dumps(request))


@pytest.mark.parametrize(
    ("listing", "pages"),
    [(ASCENDING, [["a", "a"], ["b", "c"], ["d"]]), (DESCENDING, [["d", "c"], ["b", "a"], ["a"]])],
    ids=["ascending", "descending"],
)
def test_pages_contain_each_row_once_in_order(listing: Listing, pages: list[list[str]]) -> None:
    db = FakeDatabase(("a", 1), ("a", 2), ("b", 3), ("c", 4), ("d", 5))
    assert read_all(listing, db, page_size=2) == pages


def test_last_page_has_no_token_when_it_is_full() -> None:
    assert read_all(ASCENDING, FakeDatabase(("a", 1), ("b", 2)), page_size=2) == [["a", "b"]]


def test_empty_list_is_one_empty_page() -> None:
    assert read_all(ASCENDING, FakeDatabase(), page_size=2) == [[]]


def test_page_size_zero_selects_the_default() -> None:
    db = FakeDatabase(*(("a", number) for number in range(DEFAULT_PAGE_SIZE + 1)))
    assert [len(page) for page in read_all(ASCENDING, db, page_size=0)] == [DEFAULT_PAGE_SIZE, 1]


def test_page_size_can_change_between_pages() -> None:
    db = FakeDatabase(("a", 1), ("b", 2), ("c", 3))
    _, token = read(ASCENDING, db, ListPatientsRequest(page_size=1))
    assert read(ASCENDING, db, ListPatientsRequest(page_size=50, page_token=token)) == (["b", "c"], "")


def test_following_pages_compare_all_sort_columns() -> None:
    db = FakeDatabase(("a", 1), ("b", 2))
    read_all(ASCENDING, db, page_size=1)
    first, following = db.statements
    assert "WHERE" not in first.sql
    assert "(words.word, words.number) > (" in following.sql


@pytest.mark.parametrize(
    "request_",
    [ListPatientsRequest(query="ana"), ListPatientRevisionsRequest()],
    ids=["another query", "another method"],
)
def test_token_of_another_query_is_invalid(request_: Any) -> None:
    db = FakeDatabase(("a", 1), ("b", 2))
    _, request_.page_token = read(ASCENDING, db, ListPatientsRequest(page_size=1))
    with pytest.raises(PageTokenInvalid):
        read(ASCENDING, db, request_)


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b"), ("a", 1, 2), "a"], ids=repr)
def test_token_with_other_values_is_invalid(values: object) -> None:
    request = ListPatientsRequest()
    request.page_token = encode(values, ListPatientsRequest())
    with pytest.raises(PageTokenInvalid):
        read(ASCENDING, FakeDatabase(), request)


def test_value_in_a_token_that_the_database_rejects_is_an_invalid_token() -> None:
    with pytest.raises(PageTokenInvalid):
        read(ASCENDING, FailingDatabase(), ListPatientsRequest(page_token=encode(("\0", 1), ListPatientsRequest())))


def test_value_in_a_query_that_the_database_rejects_is_not_a_token_error() -> None:
    with pytest.raises(ValueRejected):
        read(ASCENDING, FailingDatabase(), ListPatientsRequest(query="\0"))
