"""The RPC that finds patients that may be the same person."""

from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Select, Text, Uuid, bindparam, func, select, union
from sqlalchemy.types import TypeEngine

from gen.pulsetrack.patient.v1 import Duplicate, FindDuplicatesRequest, FindDuplicatesResponse, Patient
from services.common.audit.events import record_read
from services.common.bounds import Bound
from services.common.periods import parse_period
from services.common.postgres.database import Database
from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.patient.domain import to_patient
from services.patient.errors import PatientNotFound
from services.patient.models import PATIENT, VISIBLE_PATIENTS, patients
from services.patient.similarity import compare_patients
from services.patient.words import MAX_WORDS, build_patterns, to_stored_words

MAX_DUPLICATES = 20
_LIKELY = 0.5
"""The score from which patients may be the same person."""
_WITH_DATE = 1000
"""The number of patients that may be born on the same day that are compared, and of those with a partial date."""
_WITH_WORDS = 300
"""The number of patients with the same phone number, and of those with all words of the name, that are compared."""
_COMPARED = 100
"""The number of them, those with the most similar names, whose other fields are compared."""

_UNDELETED = VISIBLE_PATIENTS.with_only_columns(*PATIENT).where(patients.c.delete_time.is_(None))
_GET_UNDELETED = Statement(_UNDELETED.where(patients.c.id == bindparam("id", type_=Uuid)))


class DuplicatesService:
    """Implements FindDuplicates."""

    def __init__(self, db: Database, *, concurrent_searches: int) -> None:
        self._db = db
        self._searches = Bound(concurrent_searches)

    async def find_duplicates(self, request: FindDuplicatesRequest) -> FindDuplicatesResponse:
        """Returns the patients that may be the same person as a patient, the likeliest first.

        Raises PatientNotFound; RateLimited if too many searches are running.
        """
        row = await self._db.row(_GET_UNDELETED, id=request.id)
        if row is None:
            raise PatientNotFound
        patient = to_patient(row)
        async with self._searches.slot():
            candidates = await read_candidates(self._db, patient)
        duplicates = _rank(patient, candidates)
        record_read([row["id"], *(UUID(duplicate.patient.id) for duplicate in duplicates if duplicate.patient)])
        return FindDuplicatesResponse(duplicates=duplicates)


async def read_candidates(db: Database, patient: Patient) -> list[Patient]:
    """Returns the patients that are compared with a patient in all fields."""
    patterns = [build_patterns(text).part[:MAX_WORDS] for text in (patient.name, patient.phone)]
    words = {f"word_{number}": word for number, word in enumerate(chain(*patterns))}
    born = parse_period(patient.date_of_birth)
    rows = await db.rows(
        _compile(*map(len, patterns)),
        id=patient.id,
        first=born.first,
        last=born.last,
        month=born.first.replace(day=1),
        year=born.first.replace(month=1, day=1),
        name=to_stored_words(patient.name),
        **words,
    )
    return [to_patient(row) for row in rows]


def _rank(patient: Patient, candidates: Iterable[Patient]) -> list[Duplicate]:
    """Returns the likeliest duplicates of a patient among candidates."""
    compared = ((candidate, compare_patients(patient, candidate)) for candidate in candidates)
    duplicates = [
        Duplicate(patient=candidate, score=score, similar_fields=fields)
        for candidate, (score, fields) in compared
        if score >= _LIKELY
    ]
    return sorted(duplicates, key=lambda duplicate: -duplicate.score)[:MAX_DUPLICATES]


@cache
def _compile(words: int, numbers: int) -> Statement:
    """Returns the statement that selects candidates, for the number of words of the name and of the phone number."""
    likes = [patients.c.words.like(_select(f"word_{number}", Text)) for number in range(words + numbers)]
    born = patients.c.date_of_birth
    first, last, month, year = (_select(name, Date) for name in ("first", "last", "month", "year"))
    within, around = (born >= first, born <= last), (born.in_([month, year]), patients.c.last_date_of_birth >= last)
    groups = [_select_ids(_WITH_DATE, *each).order_by(born) for each in (within, around)]
    groups += [_select_ids(_WITH_WORDS, *group) for group in (likes[:words], likes[words:]) if group]
    ids = union(*(select(group.subquery().c.id) for group in groups)).subquery("candidates")
    similarity = func.strict_word_similarity(bindparam("name", type_=Text), patients.c.words)
    others = _UNDELETED.where(patients.c.id.in_(select(ids.c.id)), patients.c.id != bindparam("id", type_=Uuid))
    return Statement(others.order_by(similarity.desc(), patients.c.id).limit(constant(_COMPARED)))


def _select_ids(limit: int, *conditions: ColumnElement[bool]) -> Select[Any]:
    return _UNDELETED.with_only_columns(patients.c.id).where(*conditions).limit(constant(limit))


def _select(name: str, kind: type[TypeEngine[Any]]) -> ColumnElement[Any]:
    """Selects a parameter, whose value Postgres does not know when it plans."""
    return select(bindparam(name, type_=kind)).scalar_subquery()
