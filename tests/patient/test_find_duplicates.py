"""FindDuplicates: patients that may be the same person."""

from collections.abc import Callable
from datetime import date
from itertools import count
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import DeletePatientRequest, Duplicate, FindDuplicatesRequest, Patient
from tests.harness.client import Client, Rejected
from tests.harness.tokens import Signer
from tests.patient.access_events import summarize, wait_for_events
from tests.patient.care import User, create_restricted
from tests.patient.factory import create_request

Create = Callable[..., Patient]

_NUMBERS = count(1)


def find(client: Client, patient: Patient) -> list[Duplicate]:
    """Returns the duplicates of a patient."""
    found: list[Duplicate] = client.find_duplicates(FindDuplicatesRequest(id=patient.id)).duplicates
    return found


def ids_of(duplicates: list[Duplicate]) -> list[str]:
    """Returns the ids of the patients."""
    return [duplicate.patient.id for duplicate in duplicates if duplicate.patient]


@pytest.fixture
def create(patients: Client) -> Create:
    """Creates patients with a date of birth and a phone number that only they have."""
    number = next(_NUMBERS)
    born = date(1850 + number, 1 + number % 12, 1 + number % 28).isoformat()  # no two look like one mistyped date
    phone = f"+351 {10**8 + number}"

    def create_patient(name: str, **fields: str) -> Patient:
        created: Patient = patients.create_patient(
            create_request(**({"name": name, "date_of_birth": born, "phone": phone} | fields))
        )
        return created

    return create_patient


def test_same_person_with_another_spelling_is_found(patients: Client, create: Create) -> None:
    patient, other = create("José Pérez García"), create("GARCIA PEREZ, Jose", phone="")
    [duplicate] = find(patients, patient)
    assert duplicate == Duplicate(patient=other, score=0.75, similar_fields=["name", "date_of_birth"])


def test_likeliest_duplicate_is_first(patients: Client, create: Create) -> None:
    patient = create("Maria Oliveira")
    similar, equal = create("Mariana Oliveira"), create("Maria Oliveira")
    assert ids_of(find(patients, patient)) == [equal.id, similar.id]


def test_mistyped_name_is_found_by_phone_number_and_date_of_birth(patients: Client, create: Create) -> None:
    patient, other = create("Katarzyna Nowak"), create("Katazyna Novak")
    assert ids_of(find(patients, patient)) == [other.id]


def test_mistyped_date_of_birth_is_found_by_the_name(patients: Client, create: Create) -> None:
    name = f"Zoe {uuid4().hex}"
    patient = create(name, date_of_birth="1980-02-03", phone="")
    other = create(name, date_of_birth="1980-03-02", phone="")
    [duplicate] = find(patients, patient)
    assert (duplicate.patient, duplicate.score) == (other, 0.65)


def test_relative_with_the_same_phone_number_is_not_found(patients: Client, create: Create) -> None:
    patient = create("Ana Costa")
    create("Rui Costa", date_of_birth="2001-01-01")
    assert find(patients, patient) == []


def test_name_in_another_script_is_found(patients: Client, create: Create) -> None:
    patient, other = create("王小明"), create("王 小明")
    assert ids_of(find(patients, patient)) == [other.id]


def test_long_name_is_accepted(patients: Client, create: Create) -> None:
    name = " ".join("abcdefghijklmnopqrstuvwxyz" * 2)[:99]
    patient, other = create(name), create(name)
    assert ids_of(find(patients, patient)) == [other.id]


def test_at_most_20_duplicates_are_returned(patients: Client, create: Create) -> None:
    patient, *_ = [create("Ana Silva") for _ in range(22)]
    assert len(find(patients, patient)) == 20


def test_deleted_patients_are_omitted(patients: Client, admin: Client, create: Create) -> None:
    patient, other = create("Ana Silva"), create("Ana Silva")
    admin.delete_patient(DeletePatientRequest(id=other.id))
    assert find(patients, patient) == []
    with pytest.raises(Rejected, match="PATIENT_NOT_FOUND"):
        find(patients, other)


def test_restricted_patients_are_found_by_their_care_team_only(
    patients: Client, signer: Signer, create: Create
) -> None:
    member, outsider = User(patients, signer), User(patients, signer)
    patient = create("Ana Silva")
    fields = {"name": patient.name, "date_of_birth": patient.date_of_birth}
    restricted = create_restricted(member.client, **fields)
    assert ids_of(find(member.client, patient)) == [restricted.id]
    assert find(outsider.client, patient) == []


def test_access_event_names_the_patients_that_were_returned(patients: Client, admin: Client, create: Create) -> None:
    patient, duplicate, other = create("Ana Silva"), create("Ana Silva"), create("Rui Costa", phone="")
    find(patients, patient)
    for each in (patient, duplicate):
        assert summarize(wait_for_events(admin, each.id, 2))[1:] == [("FindDuplicates", "OK")]
    assert len(wait_for_events(admin, other.id, 1)) == 1
