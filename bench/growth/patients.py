"""Lists and searches of patients."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

from bench.growth.cases import Cases, Read
from gen.pulsetrack.patient.v1 import ListPatientsRequest, Patient, Sex
from services.common.postgres.database import Database
from services.patient.duplicates import read_candidates
from services.patient.exports import READER
from services.patient.listing import build_listing, normalize_order

_FILL: Final = (
    "SELECT setseed(0.5)",
    "CREATE TEMPORARY TABLE surnames AS SELECT rank, initcap(string_agg("
    "('{an,be,ca,da,el,fi,go,hu,il,jo,ka,li,mo,na,os,pe,qui,ra,sa,ti,ul,va,we,xi,yo,za}'::text[])"
    "[1 + get_byte(hash, place) % 26], '' ORDER BY place)) AS word"
    " FROM (SELECT rank, decode(md5(rank::text), 'hex') AS hash FROM generate_series(0, 19999) AS rank) AS hashes,"
    " generate_series(1, 4) AS place WHERE place <= 2 + get_byte(hash, 0) % 3 GROUP BY rank",
    "UPDATE surnames SET word = ('{Silva,Perez,Santos,Oneil}'::text[])[rank + 1] WHERE rank < 4",
    "CREATE TEMPORARY TABLE names AS SELECT * FROM surnames WHERE rank < 1500",
    "UPDATE names SET word = ('{Ana,Maria,Li,Joao}'::text[])[rank + 1] WHERE rank < 4",
    "CREATE TEMPORARY TABLE people AS SELECT number, floor(3 * power(500, random()) - 3)::int AS name,"
    " floor(8 * power(2500, random()) - 8)::int AS surname, random() AS chance FROM generate_series(1, {count}) number",
    "INSERT INTO patients (id, name, email, email_key, address, date_of_birth, registered_date, phone, sex,"
    " medical_record_number, search_key, create_time, update_time, delete_time, sequence, message, message_sequence)"
    " SELECT uuidv7((number - {count}) * interval '20 s'), names.word || ' ' || surnames.word, email, email,"
    " '1 High Street', date '1930-01-01' + (chance * 33000)::int, time::date,"
    " '+351 ' || 210000000 + (chance * 89999999)::int, (chance * 1e6)::int % 3, 'MRN-' || number, '',"
    " time, time, CASE WHEN (chance * 1e6)::int % 50 = 0 THEN time END, 1, convert_to(repeat('x', 220), 'UTF8'), 1"
    " FROM people JOIN names ON names.rank = name JOIN surnames ON surnames.rank = surname,"
    " LATERAL (SELECT timestamptz '2024-01-01Z' + number * interval '20 s' AS time,"
    " 'user' || number || '@clinic.test' AS email) AS derived ORDER BY number",
    "INSERT INTO revisions (patient_id, revision, actor_id, occur_time, type, patient)"
    " SELECT id, 1, '', create_time, 1, message FROM patients ORDER BY create_time",
)
"""Patients with the names of people: few names are frequent, most are rare. 2% are deleted. Each has one revision."""

_NOTE: Final = """\
These reads grow more than twice, up to a bound of 30,000 examined patients, or 10,000 in orders other than by create
time:

- A search whose matches are more than 300, but fewer than 0.7% of the newest patients: two frequent words, or part of a
  number that many patients have. The index intersects long lists, and then more patients are examined. Whole email
  addresses and record numbers have indexes of their own.
- A frequent surname by name. The matches are far down the order, and no index contains the words in the order of the
  names. [ADR 53](adr/0053-bound-what-a-list-examines.md) compares a table of words, which each create would pay for.
- The patients who were registered first, newest first. An index is sorted by the registered date or by the create time.
  One of both would still be read to its end if it must be sorted by the other, so it would only move the bound.
- Duplicates, which search the words of a name and the parts of a phone number in the same index. At most 1,000 patients
  with the same date of birth and 300 with the same words are compared."""

_REQUESTS: Final[Mapping[str, ListPatientsRequest]] = {
    "list": ListPatientsRequest(),
    "list with deleted patients": ListPatientsRequest(show_deleted=True),
    "list by name": ListPatientsRequest(order_by="name"),
    "list by update time": ListPatientsRequest(order_by="update_time desc"),
    "list by date of birth and name": ListPatientsRequest(order_by="date_of_birth,name desc"),
    "search, frequent surname": ListPatientsRequest(query="silva"),
    "search, beginning of it": ListPatientsRequest(query="sil"),
    "search, part of it": ListPatientsRequest(query="ilv"),
    "search, part that all have": ListPatientsRequest(query="lin"),
    "search, frequent name and surname": ListPatientsRequest(query="ana silva"),
    "search, one letter": ListPatientsRequest(query="a"),
    "search, two letters": ListPatientsRequest(query="li"),
    "search, two letters without a match": ListPatientsRequest(query="zy"),
    "search, word without a match": ListPatientsRequest(query="nosuchname"),
    "search, email address": ListPatientsRequest(query="user777@clinic.test"),
    "search, record number": ListPatientsRequest(query="MRN-777"),
    "search, part of a phone number": ListPatientsRequest(query="2 1000 12"),
    "search by name, frequent surname": ListPatientsRequest(query="silva", order_by="name"),
    "sex": ListPatientsRequest(sex=Sex.FEMALE),
    "sex without a match": ListPatientsRequest(sex=Sex.OTHER),
    "sex without a match, by name": ListPatientsRequest(sex=Sex.OTHER, order_by="name"),
    "sex without a match, and a word": ListPatientsRequest(sex=Sex.OTHER, query="silva"),
    "registered after, all": ListPatientsRequest(registered_after="2023-01-01"),
    "registered before, without a match": ListPatientsRequest(registered_before="1990-01-01"),
    "registered before, the oldest": ListPatientsRequest(registered_before="2024-01-02"),
    "born before, half": ListPatientsRequest(born_before="1975-01-01"),
    "born before, without a match": ListPatientsRequest(born_before="1920-01-01"),
    "born before, youngest first": ListPatientsRequest(born_before="1975-01-01", order_by="date_of_birth desc"),
}


def _read(request: ListPatientsRequest) -> Read:
    async def read(db: Database) -> None:
        order_by = normalize_order(request.order_by, ranked=bool(request.query))
        listing, values = build_listing(normalized := replace(request, order_by=order_by))
        await listing.read_page(db, normalized, **values)

    return read


def _find_duplicates(name: str) -> Read:
    patient = Patient(id=str(UUID(int=0)), name=name, date_of_birth="1950-01-01", phone="+351 210000012")

    async def read(db: Database) -> None:
        await read_candidates(db, patient)

    return read


async def _export_page(db: Database) -> None:
    await db.rows(READER.statement, after=UUID(int=0), transaction=2**62, position=0)


PATIENTS: Final = Cases(
    service="patient",
    fill=_FILL,
    table="patients",
    reads={name: _read(request) for name, request in _REQUESTS.items()}
    | {
        "duplicates, frequent name and surname": _find_duplicates("Ana Silva"),
        "duplicates, rare name": _find_duplicates("Zoe Nosuchname"),
        "export, 500 patients": _export_page,
    },
    note=_NOTE,
)
