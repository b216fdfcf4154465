"""Searches of access events."""

from typing import Final

from bench.growth.cases import Cases, Read
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest
from services.patient.models import SEARCH

_FILL: Final = (
    "CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid"
    " RETURN ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid",
    "CREATE FUNCTION pg_temp.group_id(n bigint) RETURNS uuid"
    " RETURN ('00000000-0000-8000-8000-' || lpad(n::text, 12, '0'))::uuid",
    "INSERT INTO access_groups SELECT pg_temp.group_id(list), array_agg(pg_temp.id("
    "CASE WHEN list = 0 THEN n ELSE 100 + (list * 7919 + n * 104729) % {count} END))"
    " FROM generate_series(0, {count} / 50) AS list, generate_series(1, 50) AS n GROUP BY list",
    "INSERT INTO access_events (id, patient_ids, actor_id, method, outcome, occur_time, request_id, remote_address)"
    " SELECT uuidv7((n - {count}) * interval '10 s'), ARRAY[CASE WHEN n % 5 = 0 THEN pg_temp.group_id(0)"
    " WHEN n % 50 = 3 THEN pg_temp.group_id(n / 50) WHEN n % 33 = 1 THEN pg_temp.id(51)"
    " WHEN n % ({count} / 20) = 4 THEN pg_temp.id(52) ELSE pg_temp.id(100 + n % ({count} / 10)) END],"
    " pg_temp.id(CASE WHEN n % ({count} / 20) = 9 THEN 0 ELSE n % 20 + 1 END)::text,"
    " 'pulsetrack.patient.v1.PatientService/GetPatient', 'OK', now() + (n - {count}) * interval '10 s',"
    " gen_random_uuid()::text, '127.0.0.1' FROM generate_series(1, {count}) AS n",
)
"""A fifth of the calls are the same list of 50 patients, 2% are other lists, and 3% read the same patient."""


def _search(*, subject: int = 0, actor: int | None = None) -> Read:
    request = SearchAccessEventsRequest(
        subject_id=_id(subject) if subject else "", actor_id="" if actor is None else _id(actor)
    )
    return lambda db: SEARCH.page(db, request)


def _id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012}"


ACCESS_EVENTS: Final = Cases(
    service="patient",
    fill=_FILL,
    table="access_events",
    reads={
        "all": _search(),
        "of a patient in many lists": _search(subject=1),
        "of a patient that is read often": _search(subject=51),
        "of a patient that is read rarely": _search(subject=52),
        "by a frequent actor": _search(actor=1),
        "by a rare actor": _search(actor=0),
        "of a patient in many lists, by an actor": _search(subject=1, actor=1),
    },
)
