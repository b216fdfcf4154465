"""Journals: the order in which rows are read during concurrent writes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, MetaData, Table, Text

from services.common.postgres.database import Database
from services.common.postgres.journal import START, Journal, JournalPosition, journal_columns, position_of
from tests.harness.background import Background
from tests.harness.sql import Sql

WORDS = Table("words", MetaData(), Column("word", Text), *journal_columns())
JOURNAL = Journal(WORDS)
CREATE = (
    "CREATE TABLE words (word text, transaction bigint NOT NULL DEFAULT journal_number(pg_current_xact_id()),"
    " position bigint GENERATED ALWAYS AS IDENTITY)"
)
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
HAVE_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8"
INSERT = "INSERT INTO words (word) VALUES ($1)"


@pytest.fixture(autouse=True)
def _empty(background: Background, database_url: str) -> None:
    async def empty() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("DROP TABLE IF EXISTS words")
        await connection.execute(CREATE)
        await connection.close()

    background.run(empty())


class WordJournal:
    """A journal of words, with a new connection for each write."""

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

    async def settle(self) -> None:
        """Waits for the transactions that are running on the server: those of other databases delay readers too."""
        connection = await self.connect()
        upcoming = await connection.fetchval(NEXT_TRANSACTION)
        async with asyncio.timeout(30):
            while not await connection.fetchval(HAVE_ENDED, upcoming):  # noqa: ASYNC110 - another process ends them
                await asyncio.sleep(0.01)
        await connection.close()

    async def read(self, position: JournalPosition, *, limit: int = 100) -> tuple[Sequence[str], JournalPosition]:
        """Returns the words after a position, and the position of the last one."""
        rows = await JOURNAL.read_after(self.db, position, limit=limit)
        return [row["word"] for row in rows], position_of(rows[-1]) if rows else position


def test_rows_are_read_in_order_page_by_page(background: Background, database_url: str) -> None:
    async def scenario() -> None:
        async with Database(database_url) as db:
            journal = WordJournal(db, database_url)
            await journal.write("a", "b")
            await journal.write("c")
            await journal.settle()
            first, position = await journal.read(START, limit=2)
            assert (first, (await journal.read(position))[0]) == (["a", "b"], ["c"])

    background.run(scenario())


def test_row_that_is_committed_late_is_not_skipped(background: Background, database_url: str) -> None:
    async def scenario() -> None:
        async with Database(database_url) as db:
            journal = WordJournal(db, database_url)
            await journal.write("before")
            await journal.settle()
            slow = await journal.connect()
            transaction = slow.transaction()
            await transaction.start()
            await slow.execute(INSERT, "slow")
            await journal.write("quick")  # has a higher position than "slow", and is committed first
            words, position = await journal.read(START)
            assert words == ["before"]
            assert await JOURNAL.find_end(db) == position
            await transaction.commit()
            await slow.close()
            await journal.settle()
            assert (await journal.read(position))[0] == ["slow", "quick"]

    background.run(scenario())


def test_reader_receives_each_row_once_during_concurrent_writes(background: Background, database_url: str) -> None:
    async def write(journal: WordJournal, writer: int) -> None:
        for number in range(30):
            await journal.write(f"{writer}:{number}:a", f"{writer}:{number}:b")

    async def scenario() -> list[str]:
        async with Database(database_url) as db:
            journal = WordJournal(db, database_url)
            writers = asyncio.gather(*(write(journal, writer) for writer in range(6)))
            found, position = list[str](), START
            done = False
            while True:
                words, position = await journal.read(position, limit=7)
                found += words
                if done and not words:
                    return found
                if writers.done() and not done:
                    await journal.settle()
                    done = True

    found = background.run(scenario())
    assert len(found) == len(set(found)) == 6 * 30 * 2
    for writer in range(6):
        own = [word for word in found if word.startswith(f"{writer}:")]
        assert own == [f"{writer}:{number}:{half}" for number in range(30) for half in "ab"]


def test_end_is_after_all_rows_and_before_later_rows(background: Background, database_url: str) -> None:
    async def scenario() -> None:
        async with Database(database_url) as db:
            journal = WordJournal(db, database_url)
            assert await JOURNAL.find_end(db) == START
            await journal.write("a", "b")
            await journal.settle()
            end = await JOURNAL.find_end(db)
            assert await journal.read(end) == ([], end)
            await journal.write("c")
            await journal.settle()
            assert (await journal.read(end))[0] == ["c"]

    background.run(scenario())


def test_journal_contains_only_the_positions_of_its_rows(background: Background, database_url: str) -> None:
    async def scenario() -> None:
        async with Database(database_url) as db:
            journal = WordJournal(db, database_url)
            await journal.write("a")
            await journal.settle()
            end = await JOURNAL.find_end(db)
            assert await JOURNAL.contains(db, START)
            assert await JOURNAL.contains(db, end)
            assert not await JOURNAL.contains(db, JournalPosition(end.transaction, end.position + 1))
            assert not await JOURNAL.contains(db, JournalPosition(end.transaction + 1, end.position))

    background.run(scenario())


def test_current_end_follows_all_committed_rows(background: Background, database_url: str, sql: Sql) -> None:
    async def write_and_find() -> JournalPosition:
        async with Database(database_url) as db:
            await WordJournal(db, database_url).write("a")
            return await asyncio.wait_for(JOURNAL.find_current_end(db), timeout=seconds)

    with sql.hold_locks("SELECT pg_current_xact_id()"):
        seconds = 0.5
        with pytest.raises(TimeoutError):  # the transaction hides the row
            background.run(write_and_find())
    seconds = 9
    end = background.run(write_and_find())
    assert end == max(position_of(row) for row in sql("SELECT transaction, position FROM words"))
