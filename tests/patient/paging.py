"""Lists of patients, page by page."""

from collections.abc import Iterable, Iterator

from gen.pulsetrack.patient.v1 import ListPatientsRequest, ListPatientsResponse, Patient
from tests.harness.client import Client
from tests.patient.factory import create_request


def created(patients: Client, count: int, **fields: object) -> list[Patient]:
    """Creates so many patients, one after the other."""
    return [patients.create_patient(create_request(**fields)) for _ in range(count)]


def pages(patients: Client, **request: object) -> Iterator[ListPatientsResponse]:
    """Follows the page tokens to the last page."""
    token = ""
    while True:
        page = patients.list_patients(ListPatientsRequest(**request, page_token=token))  # type: ignore[arg-type]
        yield page
        if not (token := page.next_page_token):
            return


def ids(listed: Iterable[Patient]) -> list[str]:
    return [patient.id for patient in listed]


def walked(patients: Client, **request: object) -> list[str]:
    """Returns the ids on all pages."""
    return [patient.id for page in pages(patients, **request) for patient in page.patients]
