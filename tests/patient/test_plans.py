"""The plans of ListPatients: each statement stops after a bounded number of patients."""

import json
from collections.abc import Iterator
from datetime import date
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from bench.growth.patients import PATIENTS
from gen.pulsetrack.patient.v1 import ListPatientsRequest, Sex
from services.common.context import Caller, current_caller
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement
from services.patient import exports
from services.patient.fhir import exports as fhir_exports
from services.patient.fhir.person_export import FIND_PERSON
from services.patient.import_statements import FIND_BY_EMAIL, FIND_BY_NUMBER, FIND_TAKEN_NUMBERS
from services.patient.listing import build_listing
from services.patient.merges import FIND_SURVIVORS, LOCK_TO_MERGE
from services.patient.snapshots import SnapshotReader
from tests.harness.background import Background

COUNT = 5000  # more of each sex than a page reads
PAGES = 2

QUERIES = ["", "silva", "ana silva", "zy", "nosuchname", "user777@clinic.test"]
FILTERS: list[dict[str, Any]] = [
    {},
    {"show_deleted": True},
    {"sex": Sex.FEMALE},
    {"sex": Sex.OTHER},
    {"born_after": "1960-01-01", "born_before": "1960-02-01"},
    {"born_before": "1920-01-01"},
    {"registered_before": "2024-01-01", "sex": Sex.MALE},
    {"registered_after": "2024-01-02"},
]
ORDERS = ["", "create_time", "name desc", "date_of_birth desc,name"]


GRANTS = "INSERT INTO patient_grants (user_id, patient_id) SELECT sex, id FROM patients"
PLANNED = 5  # Postgres plans a prepared statement so often before it may keep a plan
PLANS = Statement(
    text(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
        " WHERE statement LIKE '%FROM patients%' AND statement NOT LIKE '%pg_prepared%'"
    )
)


class RecordingDatabase(Database):
    """A database that records the statements that it runs."""

    def __init__(self, url: str, *, connections: int = 10) -> None:
        super().__init__(url, connections=connections)
        self.statements: dict[str, list[Any]] = {}

    async def rows(self, statement: Statement, /, **values: Any) -> list[asyncpg.Record]:
        self.statements[statement.sql] = statement.arguments(values)
        return await super().rows(statement, **values)

    async def row(self, statement: Statement, /, **values: Any) -> asyncpg.Record | None:
        self.statements[statement.sql] = statement.arguments(values)
        return await super().row(statement, **values)


@pytest.fixture(scope="module")
def filled_url(background: Background, database_url: str) -> str:
    """A database with many patients."""

    async def fill() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in PATIENTS.fill:
            await connection.execute(statement.replace("{count}", str(COUNT)))
        await connection.execute(GRANTS)
        await connection.execute("VACUUM ANALYZE patients, revisions, patient_grants")
        await connection.close()

    background.run(fill())
    return database_url


@pytest.mark.parametrize("order_by", ORDERS)
def test_lists_read_a_bounded_number_of_patients(background: Background, filled_url: str, order_by: str) -> None:
    requests = [
        ListPatientsRequest(query=query, order_by=order_by, **filters) for query, filters in product(QUERIES, FILTERS)
    ]

    async def check() -> None:
        connection = await asyncpg.connect(filled_url)
        # The table is small. Postgres then reads or sorts it only if no index fits.
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        async with RecordingDatabase(filled_url) as db:
            for request in requests:
                await read_pages(db, request)
            partial = ListPatientsRequest(order_by=order_by, born_before="1960-02-01")
            await read_pages(db, partial, born_from=date(1960, 1, 15))
            for sql, arguments in db.statements.items():
                [[text]] = await connection.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
                assert not [*find_unbounded(json.loads(text)[0]["Plan"])], (sql, text)
        await connection.close()

    background.run(check())


async def read_pages(
    db: Database, request: ListPatientsRequest, *, count: int = PAGES, born_from: date | None = None
) -> None:
    """Reads the first pages of a list."""
    listing, values = build_listing(request, born_from=born_from)
    for _ in range(count):
        _, request.page_token = await listing.read_page(db, request, **values)
        if not request.page_token:
            break
    request.page_token = ""


@pytest.mark.parametrize("query", ["nosuchname", "silva nosuchname", "user4999@clinic.test"])
def test_search_with_few_matches_is_one_statement_with_one_plan(
    background: Background, filled_url: str, query: str
) -> None:
    assert background.run(count_plans(filled_url, ListPatientsRequest(query=query))) == [(1, PLANNED)]


@pytest.mark.parametrize("query", ["", "silva"])
def test_list_of_an_admin_has_one_plan(background: Background, filled_url: str, query: str) -> None:
    async def count() -> list[tuple[int, int]]:
        current_caller.set(Caller("", "ADMIN", 0))
        return await count_plans(filled_url, ListPatientsRequest(query=query))

    assert {*background.run(count())} == {(1, PLANNED)}


async def count_plans(url: str, request: ListPatientsRequest) -> list[tuple[int, int]]:
    """Lists patients often, and returns the numbers of generic and custom plans of each statement."""
    async with RecordingDatabase(url, connections=1) as db:
        for _ in range(PLANNED + 1):
            await read_pages(db, request, count=1)
        return [(row["generic_plans"], row["custom_plans"]) for row in await db.rows(PLANS)]


async def explain(url: str, statement: Statement, **values: Any) -> Any:
    """Returns the plan of a statement for which the planner does not know the values, as in a plan that it keeps."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.arguments(values))
    await connection.close()
    return json.loads(plan)[0]["Plan"]


@pytest.mark.parametrize("statement", [FIND_BY_EMAIL, FIND_BY_NUMBER, FIND_TAKEN_NUMBERS])
def test_imports_find_patients_by_an_index(background: Background, filled_url: str, statement: Statement) -> None:
    plan = background.run(explain(filled_url, statement, keys=["one", "two"]))
    assert not [*find_unbounded(plan)]


@pytest.mark.parametrize("statement", [FIND_SURVIVORS, LOCK_TO_MERGE, FIND_PERSON])
def test_merges_find_patients_by_indexes(background: Background, filled_url: str, statement: Statement) -> None:
    plan = background.run(explain(filled_url, statement, ids=[UUID(int=1)], merged_id=UUID(int=2), id=UUID(int=3)))
    assert "Seq Scan" not in str(plan)


@pytest.mark.parametrize("reader", [exports.READER, fhir_exports.READER], ids=["ExportPatients", "FHIR"])
def test_exports_read_each_page_by_indexes(background: Background, filled_url: str, reader: SnapshotReader) -> None:
    plan = background.run(explain(filled_url, reader.statement, after=UUID(int=0), transaction=1, position=1))
    assert not [*find_unbounded(plan)]
    scans = [*find_scans(plan)]
    assert {each["Index Name"] for each in scans} >= {"patients_pkey", "revisions_pkey"}
    assert not [each for each in scans if each["Index Name"].startswith("revisions") and not is_of_one_patient(each)]


def is_of_one_patient(scan: dict[str, Any]) -> bool:
    """Returns whether a scan of an index reads the rows of one patient."""
    return "(patient_id = " in scan.get("Index Cond", "")


def find_scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the scans of indexes in a plan."""
    if "Index Name" in plan:
        yield plan
    for each in plan.get("Plans", ()):
        yield from find_scans(each)


def find_unbounded(plan: dict[str, Any], *, is_bounded: bool = False) -> Iterator[str]:
    """Yields the scans of patients that read the table, or that neither a limit nor a range of an index ends.

    A limit ends no scan whose rows are sorted first.
    """
    kind = plan["Node Type"]
    is_bounded = kind == "Limit" or (is_bounded and kind != "Sort")
    has_range = kind in ("Index Scan", "Index Only Scan") and "Index Cond" in plan
    if kind == "Seq Scan" or (plan.get("Relation Name") == "patients" and not is_bounded and not has_range):
        yield kind
    for each in plan.get("Plans", ()):
        yield from find_unbounded(each, is_bounded=is_bounded)
