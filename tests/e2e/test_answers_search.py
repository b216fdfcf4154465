"""Searches for people as users type their names, at every surface."""
# ruff: noqa: RUF001 - names in other scripts

import pytest

from tests.e2e.sessions import Session, a_patient
from tests.e2e.surfaces import Surface

NAMES = {
    "José Pérez": ["perez", "jose perez", "PEREZ JOSE", "Pérez, José", "pere", "Jose\u0301"],
    "Müller": ["muller", "MÜLLER", "mu\u0308ller"],
    "Łukasz": ["lukasz", "łukasz", "ŁUKASZ"],
    "Nguyễn": ["nguyen", "NGUYỄN", "nguyên"],
    "Zoë": ["zoe", "Zoë"],
    "Øyvind Åse": ["oyvind", "øyvind", "ase oyvind", "Åse, Øyvind"],
    "Đặng": ["dang", "đặng", "ĐẶNG"],
    "İbrahim Işık": ["ibrahim", "İBRAHİM", "IBRAHIM", "isik", "ışık", "IŞIK", "isik ibrahim"],
    "Anna Maria da Silva": [
        "Silva Anna",
        "Silva, Anna",
        "Anna Silva",
        "da  Silva",
        "anna\u00a0silva",
        "maria\u3000anna",
    ],
    "O’Neil": ["oneil", "O'Neil", "O’Neil", "o neil"],
    "Jean-Luc": ["Jean Luc", "jean-luc", "jean‐luc", "luc jean"],
    "Ｆｕｌｌ": ["full", "ＦＵＬＬ"],
    "ΤΖΌΖΕΦ": ["τζοζεφ", "ΤΖΟΖΕΦ", "Τζόζεφ"],
    "Ёлкина": ["елкина", "ёлкина", "ЕЛКИНА"],
    "Strauß": ["strauss", "STRAUSS", "strauß"],
    "Nikos Παύλος": ["παυλοσ", "παυλος", "ΠΑΥΛΟΣ"],
}
PHONES = ["35121000000", "+351 21", "21 000", "351-21-000-000", "(351) 21"]


@pytest.fixture(scope="module")
def patients(user: Session) -> dict[str, str]:
    """The id of a patient with each name. Others have similar names."""
    for decoy in ("Ana Costa", "Silvana Mario", "Neill O Brien"):
        user.post("/v1/patients", a_patient(name=decoy))
    return {name: user.post("/v1/patients", a_patient(name=name))["id"] for name in NAMES}


def find(api: Surface, query: str) -> list[str]:
    """Returns the ids of the patients on the first page of a search."""
    return [patient["id"] for patient in api("ListPatients", query=query).body["patients"]]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_search_finds_a_name(api: Surface, patients: dict[str, str], name: str) -> None:
    assert [query for query in NAMES[name] if patients[name] not in find(api, query)] == []


def test_every_word_of_a_query_must_match(api: Surface, patients: dict[str, str]) -> None:
    for query in ("silva bruno", "perez xose", "mullerin", "jeanne luc"):
        assert not {*find(api, query)} & {*patients.values()}


def test_search_finds_a_phone_number_in_any_punctuation(api: Surface, user: Session) -> None:
    created = user.post("/v1/patients", a_patient(phone="+351 21 000 000"))
    assert [query for query in PHONES if created["id"] not in find(api, query)] == []


def test_search_finds_an_email_and_a_record_number(api: Surface, user: Session) -> None:
    body = a_patient()
    created = user.post("/v1/patients", body | {"medicalRecordNumber": f"MRN/{body['email'][:8]}-7"})
    for query in (body["email"], body["email"].upper(), created["medicalRecordNumber"], body["email"][:8]):
        assert created["id"] in find(api, query)
