"""The numbers of patients that calls of the FHIR R4 API read at once."""

from uuid import UUID

import pytest

from gen.pulsetrack.patient.v1 import FindFhirPatientsRequest
from services.common.postgres.database import Database
from services.patient.fhir.statements import GET_RESOURCES
from tests.harness.background import Background
from tests.harness.client import Client, Rejected
from tests.harness.sql import Sql
from tests.patient.access_events import wait_for_events
from tests.patient.fhir_resources import a_resource, create
from tests.patient.test_fhir_exports import export_deleted

LARGE = 60_000
ERASURES = (
    "INSERT INTO erasures (patient_id, reason, actor_id, erase_time, execute_time)"
    " SELECT gen_random_uuid(), '', '', now(), '2998-01-01' FROM generate_series(1, 150)"
)


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


def test_access_event_of_a_download_has_many_erased_patients(admin: Client, sql: Sql) -> None:
    sql(ERASURES)
    ids = export_deleted(admin, "_since=2997-01-01T00:00:00Z")
    [event] = wait_for_events(admin, max(ids), 1)
    recorded = sql("SELECT patient_ids FROM access_events WHERE request_id = $1", event.request_id)
    assert (len(ids), sum(bool(row["patient_ids"]) for row in recorded)) == (150, 2)
