"""Searches by subject return the same events as a statement that reads every event, whichever version stored them."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from services.billing.models import AUDIT, SEARCH
from services.common.audit.search import Search
from services.common.audit.tables import build_groups, split_ids
from services.common.postgres.database import Database
from tests.harness.background import Background
from tests.harness.sql import Sql

EVENTS_FOUND_ONE_BY_ONE = """
    SELECT id::text FROM access_events WHERE EXISTS (
        SELECT FROM unnest(subject_ids) AS each LEFT JOIN access_groups ON access_groups.id = each
        WHERE each = $1 OR $1 = ANY(access_groups.subject_ids)
    ) AND actor_id LIKE $2 ORDER BY occur_time DESC, id DESC
"""
INSERT_EVENT = """
    INSERT INTO access_events (id, subject_ids, actor_id, method, outcome, occur_time, request_id, remote_address)
    VALUES ($1, $2, $3, 'a method', 'OK', $4, '', '')
"""
INSERT_GROUP = "INSERT INTO access_groups VALUES ($1, $2) ON CONFLICT DO NOTHING"
START = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = [uuid7() for _ in range(10)]


@pytest.fixture(scope="module")
def url(background: Background, new_database: Callable[[str], str]) -> str:
    """A database with access events of every form."""
    url = new_database("billing")
    background.run(fill(url))
    return url


async def fill(url: str) -> None:
    draw = random.Random(1)
    connection = await asyncpg.connect(url)
    for number in range(60):
        subjects = draw.sample(SUBJECTS, draw.randrange(1, 5))
        groups = {**build_groups(subjects), **build_groups(SUBJECTS[8:])}
        await connection.executemany(INSERT_GROUP, [(each, split_ids(joined)) for each, joined in groups.items()])
        # No subject, one, a group, several groups, and as in previous versions several subjects without a group.
        ids = [[], subjects[:1], [next(iter(groups))], list(groups), subjects][number % 5]
        time = START + timedelta(seconds=draw.randrange(20))
        await connection.execute(INSERT_EVENT, uuid7(), ids, draw.choice("ab"), time)
    await connection.close()


@pytest.mark.parametrize(
    ("search", "actor_id"),
    [(SEARCH, ""), (SEARCH, "a"), (Search(AUDIT, examined=2), "a")],
    ids=["", "actor", "bounded"],
)
def test_pages_contain_all_events_of_a_subject_in_order(
    background: Background, url: str, search: Search, actor_id: str
) -> None:
    sql = Sql(background, url)
    for subject_id in SUBJECTS[::3]:
        expected = [row["id"] for row in sql(EVENTS_FOUND_ONE_BY_ONE, subject_id, actor_id or "%")]
        assert expected
        pages = background.run(read_pages(url, search, subject_id=str(subject_id), actor_id=actor_id))
        assert [event for page in pages for event in page] == expected


def test_a_call_examines_few_events_of_a_subject(background: Background, url: str) -> None:
    query = {"subject_id": str(SUBJECTS[0]), "actor_id": "nobody"}
    empty, *more = background.run(read_pages(url, Search(AUDIT, examined=2), **query))
    assert empty == []
    assert more


async def read_pages(url: str, search: Search, **query: Any) -> list[list[str]]:
    """Returns the ids of the events on each page."""
    pages, token = [], ""
    async with Database(url) as db:
        while True:
            page = await search.page(db, SearchAccessEventsRequest(**query, page_size=3, page_token=token))
            pages.append([event.id for event in page.access_events])
            if not (token := page.next_page_token):
                return pages
