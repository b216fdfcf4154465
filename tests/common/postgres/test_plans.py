"""The plans of the lists, searches and statistics: they read only a few rows of large tables, by an index.

Lists and searches of patients have tests of their own.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any

import pytest

from bench.growth.plans import ExplainedDatabase, count_rows
from gen.pulsetrack.analytics.v1 import ListDeadLettersRequest, ListPatientEventsRequest
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from gen.pulsetrack.auth.v1 import ListSecurityEventsRequest, ListUsersRequest, SecurityEventType
from gen.pulsetrack.billing.v1 import ListBillingAccountsRequest
from services.analytics.models import LIST_DEAD_LETTERS, LIST_EVENTS
from services.analytics.statistics import COUNT_EVENTS, COUNT_PATIENTS
from services.auth.models import LIST_USERS
from services.auth.security_events import read_security_events
from services.billing.models import LIST_ACCOUNTS
from services.common.patient_access import ACCESSIBLE
from services.common.postgres.paging import Listing
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.sql import Sql

ROWS = 8_000
MAX_ROWS = 1_500
"""The maximum number of rows that a node of a plan may read."""

GROWING = {"access_events", "access_groups", "accounts", "dead_letters", "events", "patients", "users"}
FREQUENT, RARE, UNKNOWN = (f"{number:08}-0000-7000-8000-000000000000" for number in range(3))
GROUP = "00000000-0000-8000-8000-000000000000"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

_NUMBERS = f"generate_series(1, {ROWS}) AS n"
_ACCESS = [
    f"INSERT INTO access_groups SELECT md5(n::text)::uuid, ARRAY[md5('a' || n)::uuid] FROM {_NUMBERS}",
    f"INSERT INTO access_groups VALUES ('{GROUP}', '{{{FREQUENT},{RARE}}}')",
    "INSERT INTO access_events ({ids}, id, actor_id, method, outcome, occur_time, request_id, remote_address)"
    f" SELECT ARRAY[CASE n % 4 WHEN 0 THEN '{GROUP}' WHEN 1 THEN '{FREQUENT}' ELSE md5(n::text)::uuid END],"
    f" uuidv7(n * interval '1 s'),"
    f" CASE WHEN n % 3 = 0 THEN '{FREQUENT}' WHEN n % 2000 = 5 THEN '{RARE}' ELSE n::text END,"
    f" '', '', '{NOW}'::timestamptz + n * interval '1 s', '', '' FROM {_NUMBERS}",
]
_FILL = {
    "analytics": [
        "INSERT INTO events (event_id, patient_id, type, sequence, actor_id, occur_time, payload)"
        f" SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN '{FREQUENT}' ELSE md5(n::text)::uuid END,"
        " CASE WHEN n % 2000 = 0 THEN 4 ELSE 2 END, n, '',"
        f" '{NOW}'::timestamptz - n * interval '2 h', '' FROM {_NUMBERS}",
        "INSERT INTO patients (patient_id, sequence, deleted, sex, date_of_birth, restricted)"
        f" SELECT gen_random_uuid(), n, n % 20 = 0, n % 3, date '2026-01-01' - n % 5000, true FROM {_NUMBERS}",
        'INSERT INTO dead_letters (digest, topic, partition, "offset", headers, reason, receive_time)'
        f" SELECT n::text::bytea, '', 0, n, '{{}}', '', '{NOW}'::timestamptz + n * interval '1 s' FROM {_NUMBERS}",
    ],
    "auth": [
        "INSERT INTO users (id, email, email_key, username, username_key, password_hash, role, create_time)"
        f" SELECT gen_random_uuid(), n, n, n, n, '', 'USER', '{NOW}'::timestamptz + n * interval '1 s' FROM {_NUMBERS}",
        "INSERT INTO access_events (subject_ids, id, actor_id, method, outcome, occur_time, request_id, remote_address)"
        f" SELECT ARRAY[CASE n % 2 WHEN 1 THEN '{FREQUENT}' ELSE md5(n::text)::uuid END], uuidv7(n * interval '1 s'),"
        """ '', 'Login {"security_event":"LOGIN_' || CASE n % 2000 WHEN 1 THEN 'FAILED' ELSE 'SUCCEEDED' END || '"}',"""
        f" '', '{NOW}'::timestamptz + n * interval '1 s', '', '' FROM {_NUMBERS}",
    ],
    "billing": [
        "INSERT INTO accounts (id, patient_id, name, email, closed, create_time)"
        f" SELECT gen_random_uuid(), CASE n WHEN 1 THEN '{FREQUENT}' ELSE gen_random_uuid() END, '', '', n % 2000 = 0,"
        f" '{NOW}'::timestamptz + n * interval '1 s' FROM {_NUMBERS}"
    ],
    "patient": [],
}

Read = Callable[[ExplainedDatabase], Coroutine[Any, Any, object]]


def read_pages(listing: Listing, request: Any, **values: Any) -> Read:
    """Returns a function that reads the first two pages of a list."""

    async def read(db: ExplainedDatabase) -> None:
        _, token = await listing.read_page(db, request, **values)
        if token:
            await listing.read_page(db, replace(request, page_token=token), **values)

    return read


def list_events(patient_id: str = "", kind: int = 0, accessible: Sequence[str] | None = None) -> Read:
    listing = LIST_EVENTS[bool(patient_id), bool(kind)]
    values = {"patient_id": patient_id, "type": kind, ACCESSIBLE: accessible}
    return read_pages(listing, ListPatientEventsRequest(), **values)


def list_accounts(patient_id: str = "", status: str = "", accessible: Sequence[str] | None = None) -> Read:
    listing = LIST_ACCOUNTS[bool(patient_id), bool(status)]
    values = {"patient_id": patient_id, "status": status, ACCESSIBLE: accessible}
    return read_pages(listing, ListBillingAccountsRequest(), **values)


def search(service: str, **query: Any) -> Read:
    """Returns a function that reads the first two pages of a search of access events."""
    pages = import_module(f"services.{service}.models").SEARCH

    async def read(db: ExplainedDatabase) -> None:
        page = await pages.page(db, SearchAccessEventsRequest(**query))
        if page.next_page_token:
            await pages.page(db, SearchAccessEventsRequest(**query, page_token=page.next_page_token))

    return read


def list_security_events(**query: Any) -> Read:
    """Returns a function that reads the first two pages of security events."""

    async def read(db: ExplainedDatabase) -> None:
        request = ListSecurityEventsRequest(**query)
        page = await read_security_events(db, request)
        if page.next_page_token:
            await read_security_events(db, replace(request, page_token=page.next_page_token))

    return read


def count_events(bucket: str, days: int) -> Read:
    return lambda db: db.rows(COUNT_EVENTS, bucket=bucket, start=NOW - timedelta(days=days), end=NOW)


READS: dict[str, tuple[str, Read]] = {
    "events": ("analytics", list_events()),
    "events of a frequent type": ("analytics", list_events(kind=2)),
    "events of a rare type": ("analytics", list_events(kind=4)),
    "events of no type": ("analytics", list_events(kind=3)),
    "events of a patient with many": ("analytics", list_events(FREQUENT)),
    "events of a patient without any": ("analytics", list_events(UNKNOWN)),
    "events of a patient and a type": ("analytics", list_events(FREQUENT, 2)),
    "events of accessible patients": ("analytics", list_events(accessible=[FREQUENT])),
    "dead letters": ("analytics", read_pages(LIST_DEAD_LETTERS, ListDeadLettersRequest())),
    "statistics of a month by day": ("analytics", count_events("day", 30)),
    "statistics of a year by week": ("analytics", count_events("week", 365)),
    "statistics of patients": ("analytics", lambda db: db.rows(COUNT_PATIENTS, today=date(2026, 1, 15))),
    "users": ("auth", read_pages(LIST_USERS, ListUsersRequest())),
    "security events": ("auth", list_security_events()),
    "security events of a frequent type": ("auth", list_security_events(type=SecurityEventType.LOGIN_SUCCEEDED)),
    "security events of a rare type": ("auth", list_security_events(type=SecurityEventType.LOGIN_FAILED)),
    "security events of a subject": ("auth", list_security_events(subject_id=FREQUENT)),
    "security events of a time": ("auth", list_security_events(start_time=NOW, end_time=NOW + timedelta(hours=1))),
    "accounts": ("billing", list_accounts()),
    "accounts of accessible patients": ("billing", list_accounts(accessible=[FREQUENT])),
    "accounts of a patient": ("billing", list_accounts(FREQUENT)),
    "accounts of a frequent status": ("billing", list_accounts(status="ACTIVE")),
    "accounts of a rare status": ("billing", list_accounts(status="CLOSED")),
    "accounts of a patient and a status": ("billing", list_accounts(FREQUENT, "CLOSED")),
} | {
    f"{service}, access events of {name}": (service, search(service, **query))
    for service in SERVICES
    for name, query in {
        "all": {},
        "a frequent subject": {"subject_id": FREQUENT},
        "a rare subject": {"subject_id": RARE},
        "an unknown subject": {"subject_id": UNKNOWN},
        "a frequent actor": {"actor_id": FREQUENT},
        "a rare actor": {"actor_id": RARE},
        "an unknown subject and a frequent actor": {"subject_id": UNKNOWN, "actor_id": FREQUENT},
        "a frequent subject and an unknown actor": {"subject_id": FREQUENT, "actor_id": UNKNOWN},
    }.items()
}


@pytest.fixture(scope="module")
def open_database(
    background: Background, new_database: Callable[[str], str]
) -> Iterator[Callable[[str], ExplainedDatabase]]:
    """Returns a function that returns a service's database with large tables."""
    with ExitStack() as stack:

        @cache
        def open_database(service: str) -> ExplainedDatabase:
            sql = Sql(background, url := new_database(service))
            tables = import_module(f"services.{service}.models").metadata.tables
            ids = "patient_ids" if service == "patient" else "subject_ids"
            for statement in (*_FILL[service], *_ACCESS, f"VACUUM ANALYZE {', '.join(tables)}"):
                sql(statement.replace("{ids}", ids))
            db = ExplainedDatabase(url)
            stack.enter_context(background.during(db))
            return db

        yield open_database


@pytest.mark.parametrize("name", READS)
def test_a_read_of_large_tables_uses_indexes_and_reads_few_rows(
    background: Background, open_database: Callable[[str], ExplainedDatabase], name: str
) -> None:
    service, read = READS[name]
    db = open_database(service)
    nodes = background.run(db.explain(read(db)))
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING]
    assert max(map(count_rows, nodes)) <= MAX_ROWS
