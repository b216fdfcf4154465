"""Reading lists of patients page by page."""

from collections.abc import Iterable, Iterator

from gen.pulsetrack.patient.v1 import ListPatientsRequest, ListPatientsResponse, Patient
from tests.harness.client import Client
from tests.patient.factory import create_request


def create_patients(patients: Client, count: int, **fields: object) -> list[Patient]:
    """Creates a number of patients, one after the other."""
    return [patients.create_patient(create_request(**fields)) for _ in range(count)]


def read_pages(patients: Client, **request: object) -> Iterator[ListPatientsResponse]:
    """Yields all pages."""
    token = ""
    while True:
        page = patients.list_patients(ListPatientsRequest(**request, page_token=token))  # type: ignore[arg-type]
        yield page
        if not (token := page.next_page_token):
            return


def ids_of(listed: Iterable[Patient]) -> list[str]:
    return [patient.id for patient in listed]


def list_ids(patients: Client, **request: object) -> list[str]:
    """Returns the ids of the patients on all pages."""
    return [patient.id for page in read_pages(patients, **request) for patient in page.patients]


def find_names(patients: Client, query: str) -> list[str]:
    """Returns the names of the first patients that match a query."""
    listed = patients.list_patients(ListPatientsRequest(query=query)).patients
    return [patient.name for patient in listed]
