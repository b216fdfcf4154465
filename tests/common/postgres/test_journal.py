"""Journals: the order in which they are followed, while others write."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, MetaData, Table, Text

from services.common.postgres.database import Database
from services.common.postgres.journal import START, Journal, JournalPosition, journal_columns, position_of
from tests.harness.background import Background

WORDS = Table("words", MetaData(), Column("word", Text), *journal_columns())
JOURNAL = Journal(WORDS)
CREATE = (
    "CREATE TABLE words (word text, transaction bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,"
    " position bigint GENERATED ALWAYS AS IDENTITY)"
)
INSERT = "INSERT INTO words (word) VALUES ($1)"


@pytest.fixture(autouse=True)
def _empty(background: Background, database_url: str) -> None:
    async def empty() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("DROP TABLE IF EXISTS words")
        await connection.execute(CREATE)
        await connection.close()

    background.run(empty())


class Written:
    """A database with a journal, and those who write to it."""

    def __init__(self, db: Database, url: str) -> None:
        self.db = db
        self._url = url

    async def connect(self) -> Any:
        return await asyncpg.connect(self._url)

    async def write(self, *words: str) -> None:
        connection = await self.connect()
        async with connection.transaction():
            for word in words:
                await connection.execute(INSERT, word)
        await connection.close()

    async def read(self, place: JournalPosition, *, limit: int = 100) -> tuple[Sequence[str], JournalPosition]:
        """Returns what follows a place, and the place behind it."""
        rows = await JOURNAL.read_after(self.db, place, limit=limit)
        return [row["word"] for row in rows], position_of(rows[-1]) if rows else place


def test_rows_are_read_in_order_and_page_by_page(background: Background, database_url: str) -> None:
    async def story() -> None:
        async with Database(database_url) as db:
            written = Written(db, database_url)
            await written.write("a", "b")
            await written.write("c")
            first, place = await written.read(START, limit=2)
            assert (first, (await written.read(place))[0]) == (["a", "b"], ["c"])

    background.run(story())


def test_what_was_begun_earlier_and_is_committed_late_is_not_missed(background: Background, database_url: str) -> None:
    async def story() -> None:
        async with Database(database_url) as db:
            written = Written(db, database_url)
            await written.write("before")
            slow = await written.connect()
            transaction = slow.transaction()
            await transaction.start()
            await slow.execute(INSERT, "slow")
            await written.write("quick")  # has a higher number than "slow", and is committed first
            words, place = await written.read(START)
            assert words == ["before"]
            assert await JOURNAL.find_end(db) == place
            await transaction.commit()
            await slow.close()
            assert (await written.read(place))[0] == ["slow", "quick"]

    background.run(story())


def test_a_reader_misses_nothing_and_reads_nothing_twice_while_many_write(
    background: Background, database_url: str
) -> None:
    async def write(written: Written, writer: int) -> None:
        for number in range(30):
            await written.write(f"{writer}:{number}:a", f"{writer}:{number}:b")

    async def story() -> list[str]:
        async with Database(database_url) as db:
            written = Written(db, database_url)
            writers = asyncio.gather(*(write(written, writer) for writer in range(6)))
            found, place = list[str](), START
            done = False
            while True:
                words, place = await written.read(place, limit=7)
                found += words
                if done and not words:
                    return found
                done = writers.done()

    found = background.run(story())
    assert len(found) == len(set(found)) == 6 * 30 * 2
    for writer in range(6):
        mine = [word for word in found if word.startswith(f"{writer}:")]
        assert mine == [f"{writer}:{number}:{half}" for number in range(30) for half in "ab"]


def test_the_end_is_behind_what_is_there_and_before_what_comes(background: Background, database_url: str) -> None:
    async def story() -> None:
        async with Database(database_url) as db:
            written = Written(db, database_url)
            assert await JOURNAL.find_end(db) == START
            await written.write("a", "b")
            end = await JOURNAL.find_end(db)
            assert await written.read(end) == ([], end)
            await written.write("c")
            assert (await written.read(end))[0] == ["c"]

    background.run(story())


def test_only_the_places_of_rows_are_known(background: Background, database_url: str) -> None:
    async def story() -> None:
        async with Database(database_url) as db:
            await Written(db, database_url).write("a")
            end = await JOURNAL.find_end(db)
            assert await JOURNAL.contains(db, START)
            assert await JOURNAL.contains(db, end)
            assert not await JOURNAL.contains(db, JournalPosition(end.transaction, end.position + 1))
            assert not await JOURNAL.contains(db, JournalPosition(end.transaction + 1, end.position))

    background.run(story())
