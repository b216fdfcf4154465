"""Pages of the FHIR R4 API that exceed the size of a message."""

from uuid import UUID

import pytest

from gen.pulsetrack.patient.v1 import FindFhirPatientsRequest
from services.common.postgres.database import Database
from services.patient.fhir.statements import GET_RESOURCES
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.patient.fhir_resources import a_resource, create

LARGE = 60_000


@pytest.fixture(scope="module")
def ids(patients: Client) -> list[UUID]:
    """Patients whose resources have more than 4 MiB together."""
    resources = (a_resource(extension=[{"url": "urn:x", "valueString": "x" * LARGE}]) for _ in range(71))
    return [UUID(create(patients, resource)["id"]) for resource in resources]


@pytest.mark.usefixtures("ids")
def test_page_that_exceeds_a_message_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="FIELDS_INVALID") as rejected:
        patients.find_fhir_patients(FindFhirPatientsRequest(parameters="_count=1000"))
    assert rejected.value.violations == {"parameters": "the page has more than 4 MiB: request a smaller _count"}
    patients.find_fhir_patients(FindFhirPatientsRequest(parameters="_count=69"))


@pytest.mark.parametrize(("count", "is_read"), [(69, True), (71, False)])
def test_resources_are_read_only_if_a_page_can_contain_them(
    background: Background, database_url: str, ids: list[UUID], count: int, *, is_read: bool
) -> None:
    async def read() -> list[bytes | None]:
        async with Database(database_url) as db:
            rows = await db.rows(GET_RESOURCES, ids=ids[:count], versions=[1] * count)
        return [row["resource"] for row in rows]

    found = background.run(read())
    assert (len(found), all(found), any(found)) == (count, is_read, is_read)
