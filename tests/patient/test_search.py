"""ListPatients with a query: the words of a name, an email address, a phone number or a record number."""

import unicodedata
from collections.abc import Iterator
from random import Random
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, ListPatientsRequest, Patient, Sex
from services.common.folding import FIELD_END, fold_words
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.factory import OLD_PATIENTS, OLD_REVISIONS, create_request
from tests.patient.paging import create_patients, find_names, ids_of, list_ids, read_pages

FOUND_BY = {
    "José Pérez": ["perez", "jose perez", "PEREZ JOSE", "Pérez, José", "JOSÉ PÉREZ", "jose\u0301"],
    "Müller": ["muller", "MÜLLER", "mu\u0308ller"],
    "Łukasz": ["lukasz", "ŁUKASZ"],
    "Nguyễn Thị Ánh": ["nguyen", "anh nguyen thi", "Nguye\u0302\u0303n"],
    "Zoë": ["zoe", "zoe\u0308"],
    "Øyvind Åse": ["oyvind", "ase oyvind", "ØYVIND"],
    "Đặng": ["dang"],
    "İbrahim Iş\u0131k": ["ibrahim", "İBRAHİM", "IBRAHIM", "isik", "\u0131ş\u0131k", "IŞIK"],
    "Anna Maria da Silva": ["Silva Anna", "Silva, Anna", "Anna Silva", "da  Silva", "silva\u00a0anna", "ilv mari"],
    "O\u2019Neil": ["oneil", "O'Neil", "O\u02bcNeil", "o\u00b4neil", "O`NEIL"],
    "Jean-Luc Amélie": ["Jean Luc", "jean-luc", "jean\u2010luc", "luc jean"],
    "\uff26\uff55\uff4c\uff4c Width": ["full", "FULL", "\uff57\uff49\uff44\uff54\uff48"],
    "ΤΖΌΖΕΦ Παπαδόπουλος": ["τζοζεφ", "ΠΑΠΑΔΟΠΟΥΛΟΣ", "παπαδοπουλοσ", "Τζόζεφ"],
    "Ёлкина": ["елкина", "ЁЛКИНА", "лки"],
    "Gerda Weißhaupt": ["WEISSHAUPT", "weisshaupt", "WEIẞHAUPT"],
    "Þórður Ægisson": ["thordur", "aegisson"],
    "Gal\u00b7la Puig": ["galla", "gal\u00b7la"],
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd": ["\u05e9\u05dc\u05d5\u05dd"],
    "\u0645\u064e\u0631\u0652\u064a\u064e\u0645 \u0623\u062d\u0645\u062f": [
        "\u0645\u0631\u064a\u0645",
        "\u0627\u062d\u0645\u062f",
        "\u0631\u064a\u0645",
    ],
    "हिन्दी देवी": ["देव", "हिन्दी"],
    "王小明": ["小", "小明", "王", "王小明"],
    "김민수": ["민수", "김", unicodedata.normalize("NFD", "김민수")],
    "Ana\u3000Quintela\u00a0\u3000Sousa": ["quintela sousa", "sousa\u3000ana"],
}


@pytest.mark.parametrize("name", FOUND_BY)
def test_query_finds_a_name_as_users_type_it(patients: Client, name: str) -> None:
    patients.create_patient(create_request(name=name))
    for query in FOUND_BY[name]:
        assert name in find_names(patients, query), query


def test_words_with_different_vowel_signs_are_different(patients: Client) -> None:
    patients.create_patient(create_request(name="मीना"))
    assert find_names(patients, "मीन") == ["मीना"]
    assert find_names(patients, "मान") == []


@pytest.fixture(scope="module")
def noted(patients: Client) -> str:
    """The name of a patient with a phone number, an email address and a record number."""
    contact = {"phone": "+351 21 000 987", "email": "Rare.Address@Clinic.test", "medical_record_number": "XY/2024-77"}
    created: Patient = patients.create_patient(create_request(name="Noted", **contact))
    return created.name


@pytest.mark.parametrize("query", ["35121000987", "+351 21", "21 000", "(351) 21-000-987", "351.210009", "000987"])
def test_query_finds_a_phone_number_in_any_punctuation(patients: Client, noted: str, query: str) -> None:
    assert find_names(patients, query) == [noted]


@pytest.mark.parametrize(
    "query", ["XY/2024-77", "xy/2024", "2024-77", "rare.address", "Rare.Address@Clinic.test", "address@cli"]
)
def test_query_finds_an_email_or_record_number(patients: Client, noted: str, query: str) -> None:
    assert find_names(patients, query) == [noted]


def test_words_do_not_continue_in_another_field(patients: Client) -> None:
    patients.create_patient(
        create_request(name="Edgy", email="edge@clinic.test", medical_record_number="77", phone="881")
    )
    for query in ("Edgyedge", "testedge", "77881"):
        assert find_names(patients, query) == []


def test_short_word_is_searched_at_the_beginning_of_words(patients: Client) -> None:
    patients.create_patient(create_request(name="Zwxander"))
    assert find_names(patients, "zw") == find_names(patients, "wxa") == ["Zwxander"]
    assert find_names(patients, "wx") == []


@pytest.mark.parametrize("query", ["%", "_", "\\", "-", "%%%", "!?", "\u200b"])
def test_query_without_letters_and_digits_finds_nothing(patients: Client, query: str) -> None:
    patients.create_patient(create_request(name="90% sure_of it\\"))
    assert find_names(patients, query) == []


@pytest.mark.parametrize(("query", "decoy"), [("s%re", "sure"), ("un_er", "under"), ("ba\\ck", "back")])
def test_wildcards_in_a_query_only_separate_words(patients: Client, query: str, decoy: str) -> None:
    patients.create_patient(create_request(name=decoy))
    assert decoy not in find_names(patients, query)


def test_blank_query_selects_all_patients(patients: Client) -> None:
    [new] = create_patients(patients, 1)
    assert patients.list_patients(ListPatientsRequest(query=" \u3000", page_size=1)).patients == [new]


def test_query_of_too_many_words_is_rejected(patients: Client) -> None:
    find_names(patients, "a b c d e f g h i j j")
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        find_names(patients, "a b c d e f g h i j k")
    assert rejected.value.violations == {"query": "must have at most 10 words"}


EXACT = {"email": "Exact-7@clinic.test", "medical_record_number": "EX 7/clinic.test"}
"""An email address and a record number. Their words are those of a newer patient as well."""


@pytest.fixture(scope="module")
def exact(patients: Client) -> tuple[str, str]:
    """The ids of the patient with this email address and record number, and of the newer one."""
    created = [
        patients.create_patient(create_request(**fields)) for fields in (EXACT, {"name": "Exact 7 EX clinic test"})
    ]
    return created[0].id, created[1].id


@pytest.mark.parametrize(
    "query", ["Exact-7@clinic.test", " exact-7@CLINIC.test", "EX 7/clinic.test", "ex 7/\uff43linic.test"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_patient_with_the_email_or_record_number_is_first(
    patients: Client, exact: tuple[str, str], query: str, size: int
) -> None:
    assert list_ids(patients, query=query, page_size=size) == [*exact]


@pytest.mark.parametrize("condition", [{"sex": Sex.OTHER}, {"order_by": "create_time desc"}], ids=["filter", "order"])
def test_patient_with_the_email_is_first_only_among_ranked_matches(
    patients: Client, exact: tuple[str, str], condition: dict[str, object]
) -> None:
    old, new = exact
    expected = [] if "sex" in condition else [new, old]
    assert list_ids(patients, query=EXACT["email"], **condition) == expected


def test_deleted_patient_is_not_found_by_email(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request(email="gone-7@clinic.test"))
    admin.delete_patient(DeletePatientRequest(id=created.id))
    assert list_ids(patients, query="gone-7@clinic.test") == []
    assert list_ids(admin, query="gone-7@clinic.test", show_deleted=True) == [created.id]


RANKED = ["Rankoa", "Rankoa Ba", "Rankoabe", "Ba Rankoabe", "Abrankoa"]
"""Names in the order of their ranks for the query `rankoa`: two of equal words, two of beginnings, one of a part."""


@pytest.fixture(scope="module")
def ranked(patients: Client) -> list[str]:
    """The ids of patients in the expected order for the query `rankoa`: three of each name, newest first."""
    new = {name: ids_of(create_patients(patients, 3, name=name))[::-1] for name in (*RANKED[2:], *RANKED[:2])}
    return [
        each
        for names in (RANKED[:2], RANKED[2:4], RANKED[4:])
        for each in sorted((each for name in names for each in new[name]), reverse=True)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 1000])
def test_best_matches_are_first_on_all_pages(patients: Client, ranked: list[str], size: int) -> None:
    assert list_ids(patients, query="rankoa", page_size=size) == ranked


@pytest.mark.parametrize("order_by", ["name", "create_time desc", "date_of_birth"])
@pytest.mark.parametrize("size", [2, 1000])
def test_matches_in_an_explicit_order_are_not_ranked(
    patients: Client, ranked: list[str], order_by: str, size: int
) -> None:
    found = [
        each
        for page in read_pages(patients, query="rankoa", order_by=order_by, page_size=size)
        for each in page.patients
    ]
    assert sorted(ids_of(found)) == sorted(ranked)
    keys = [(each.name, each.id) if order_by == "name" else each.id for each in found]
    assert keys == sorted(keys, reverse=order_by.endswith("desc"))


@pytest.fixture(scope="module")
def crowd(patients: Client, sql: Sql) -> Iterator[list[str]]:
    """Creates more patients than a page reads. Returns the names that match `crowd`, in the order of a search.

    The newest 30 patients match, then none for more than a window.
    """
    ids = [str(uuid4()) for _ in range(3700)]
    sql(OLD_PATIENTS, ids)
    sql(OLD_REVISIONS, ids)
    names = (
        "CASE WHEN sequence <= 20 THEN 'Crowd' WHEN sequence <= 1500 THEN 'Crowded' WHEN sequence <= 1600 THEN 'Acrowd'"
        " WHEN sequence = 1700 THEN 'Zwirnig' WHEN sequence = 1800 THEN 'Zwirn' WHEN sequence = 1900 THEN 'Azwirn'"
        " WHEN sequence <= 3670 THEN 'Other' ELSE 'Acrowd' END"
    )
    times = "now() + sequence * interval '1 s'"
    sql(f"UPDATE patients SET name = {names}, create_time = {times} WHERE id = ANY ($1::uuid[])", ids)
    yield [
        *["Acrowd"] * 30,
        *["Crowded"] * 800,
        *["Acrowd"] * 100,
        *["Crowd"] * 19,  # one is deleted
        *["Crowded"] * 680,
    ]
    sql("DELETE FROM patients WHERE id = ANY ($1::uuid[])", ids)


@pytest.mark.parametrize("size", [37, 1000])
@pytest.mark.parametrize("order_by", ["", "name desc", "create_time"])
def test_pages_of_many_matches_contain_each_patient_once(
    patients: Client, sql: Sql, crowd: list[str], order_by: str, size: int
) -> None:
    names = {str(row["id"]): row["name"] for row in sql("SELECT id, name FROM patients")}
    pages = [*read_pages(patients, query="crowd", order_by=order_by, page_size=size)]
    found = [each for page in pages for each in page.patients]
    assert len({*ids_of(found)}) == len(found)
    expected = {
        "": crowd,
        "name desc": sorted(crowd, reverse=True),
        "create_time": [*["Crowd"] * 19, *["Crowded"] * 1480, *["Acrowd"] * 130],
    }
    assert [names[each.id] for each in found] == expected[order_by]


def test_page_of_sparse_matches_is_short(patients: Client, crowd: list[str]) -> None:
    first, *_ = pages = [*read_pages(patients, query="crowd")]
    assert len(first.patients) == 30
    assert sum(len(page.patients) for page in pages) == len(crowd)


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_few_old_matches_are_ranked_together(patients: Client, sql: Sql, size: int) -> None:
    names = {str(row["id"]): row["name"] for row in sql("SELECT id, name FROM patients")}
    found = list_ids(patients, query="zwirn", page_size=size)
    assert [names[each] for each in found] == ["Zwirn", "Zwirnig", "Azwirn"]


ALPHABETS = [
    "aeiostzAEZ",
    "áèïôñçşžłŁøØßæđİıÅ",
    "ЖжЁёйїСТ",
    "ΆάςΣσώΩ",
    "هكةيَُأآ",
    "שׁלוֹם",
    "हिन्दीमे",
    "王小明",
    "김민수",
    "ガがヴー",
]


def make_names(count: int) -> list[str]:
    """Returns distinct names of several scripts, the same in every run."""
    random = Random(44)
    names = []
    for number in range(count):
        letters = ALPHABETS[number % len(ALPHABETS)]
        words = ["".join(random.choices(letters, k=random.randint(1, 3))) for _ in range(random.randint(1, 3))]
        names.append(unicodedata.normalize("NFC", random.choice([" ", "-", ", "]).join(words)).strip())
    return names


def test_name_is_found_by_all_its_forms(patients: Client) -> None:
    for name in make_names(24):
        patient = patients.create_patient(create_request(name=name))
        words = fold_words(name)
        forms = {name, name.upper(), name.lower(), " ".join(words[::-1]), unicodedata.normalize("NFD", name)}
        for query in forms:
            if fold_words(query):
                assert patient in patients.list_patients(ListPatientsRequest(query=query, page_size=1000)).patients, (
                    name,
                    query,
                )


def test_database_folds_every_character_as_queries_are_folded(sql: Sql) -> None:
    characters = [chr(code) for code in range(1, 0x20000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    texts = [
        FIELD_END.join(f"a{each}b1{each}2" for each in characters[at : at + 500])
        for at in range(0, len(characters), 500)
    ]
    folded = sql(
        "SELECT fold_words(text) FROM unnest($1::text[]) WITH ORDINALITY AS texts (text, place) ORDER BY place", texts
    )
    for text, [words] in zip(texts, folded, strict=True):
        assert words.split() == fold_words(text)
