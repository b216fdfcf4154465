"""Lists whose first matches are far down their order."""

from typing import Any

import asyncpg
import pytest

from bench.growth.patients import PATIENTS
from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.common.postgres.database import Database
from services.patient.listing import build_listing
from services.patient.search import EXAMINED, SCATTERED_WINDOW
from services.patient.search_statements import FEW
from tests.harness.background import Background
from tests.harness.sql import Sql

COUNT = EXAMINED * SCATTERED_WINDOW + 1
OLDEST = """
UPDATE patients SET date_of_birth = '1900-01-01'
WHERE id IN (SELECT id FROM patients ORDER BY create_time LIMIT $1)
"""
IS_DELETED = "(chance * 1e6)::int % 50 = 0"
IS_NEITHER_OLDEST_NOR_NEWEST = f"number NOT IN (1, {COUNT})"


@pytest.fixture(scope="module")
def filled_url(background: Background, database_url: str) -> str:
    """A database with more patients than a call examines. All are deleted but the oldest and the newest."""

    async def fill() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in PATIENTS.fill:
            deleted = statement.replace(IS_DELETED, IS_NEITHER_OLDEST_NOR_NEWEST)
            await connection.execute(deleted.replace("{count}", str(COUNT)))
        await connection.close()

    background.run(fill())
    return database_url


async def count_rows(url: str, **request: Any) -> list[int]:
    """Returns the number of patients on the first two pages."""
    counts = []
    listed = ListPatientsRequest(**request)
    async with Database(url) as db:
        for _ in range(2):
            listing, values = build_listing(listed)
            rows, listed.page_token = await listing.read_page(db, listed, **values)
            counts.append(len(rows))
            if not listed.page_token:
                break
    return counts


def test_first_page_is_not_empty_if_matches_are_within_what_a_call_may_examine(
    background: Background, filled_url: str, sql: Sql
) -> None:
    sql(OLDEST, FEW + 1)  # too many to be sorted at once
    assert background.run(count_rows(filled_url, born_before="1900-01-02", show_deleted=True))[0]


def test_a_call_skips_a_limited_number_of_deleted_patients(background: Background, filled_url: str) -> None:
    assert background.run(count_rows(filled_url, order_by="update_time")) == [1, 1]
