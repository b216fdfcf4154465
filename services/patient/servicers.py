"""The servicers that together implement PatientService."""

from collections.abc import Sequence

import grpc

from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database
from services.patient.batch import BatchService
from services.patient.care_team import CareTeamService
from services.patient.duplicates import DuplicatesService
from services.patient.erasures import ErasureService
from services.patient.exports import ExportService
from services.patient.fhir.exports import FhirExportService
from services.patient.fhir.person_export import PersonExportService
from services.patient.fhir.service import FhirService
from services.patient.imports import ImportService
from services.patient.listing import CONCURRENT_SEARCHES
from services.patient.merges import MergeService
from services.patient.service import PatientService


def create_servicers(
    db: Database,
    outbox: Outbox,
    patients: PatientService,
    billing: grpc.aio.Channel,
    *,
    resume_key: bytes,
    erasure_delay_days: int,
    concurrent_searches: int = CONCURRENT_SEARCHES,
) -> Sequence[object]:
    """Returns the servicers: the given one, and those of the other methods, of which one calls billing."""
    batch = BatchService(db)
    return (
        patients,
        batch,
        CareTeamService(db, outbox),
        DuplicatesService(db, concurrent_searches=concurrent_searches),
        ErasureService(db, outbox, delay_days=erasure_delay_days),
        ExportService(db, resume_key=resume_key),
        FhirExportService(db),
        FhirService(db, patients, batch),
        ImportService(db, outbox, patients),
        MergeService(db, outbox),
        PersonExportService(db, billing),
    )
