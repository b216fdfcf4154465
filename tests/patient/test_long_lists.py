"""Lists whose first matches are far down their order."""

import asyncpg

from bench.growth.patients import PATIENTS
from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.common.postgres.database import Database
from services.patient.listing import build_listing
from services.patient.search import WINDOW
from services.patient.search_statements import FEW
from tests.harness.background import Background

COUNT = 6 * WINDOW
OLDEST = """
UPDATE patients SET date_of_birth = '1900-01-01'
WHERE id IN (SELECT id FROM patients ORDER BY create_time LIMIT $1)
"""


def test_first_page_is_not_empty_if_matches_are_within_what_a_call_may_examine(
    background: Background, database_url: str
) -> None:
    async def read_first_page() -> int:
        connection = await asyncpg.connect(database_url)
        for statement in PATIENTS.fill:
            await connection.execute(statement.replace("{count}", str(COUNT)))
        await connection.execute(OLDEST, FEW + 1)  # too many to be sorted at once
        await connection.close()
        request = ListPatientsRequest(born_before="1900-01-02")
        listing, values = build_listing(request)
        async with Database(database_url) as db:
            rows, _ = await listing.read_page(db, request, **values)
        return len(rows)

    assert background.run(read_first_page())
