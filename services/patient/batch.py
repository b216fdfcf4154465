"""The RPC that reads several patients at once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from gen.pulsetrack.patient.v1 import BatchGetPatientsRequest, BatchGetPatientsResponse
from services.common.audit.events import record_read
from services.common.postgres.database import Database
from services.common.protobuf.encoded import Encoded, MessageField
from services.patient.errors import PatientNotFound
from services.patient.merges import read_survivors
from services.patient.models import GET_PATIENTS

_PATIENTS = MessageField(BatchGetPatientsResponse, "patients")


class BatchService:
    """Implements BatchGetPatients."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def batch_get_patients(self, request: BatchGetPatientsRequest) -> Encoded[BatchGetPatientsResponse]:
        """Returns patients in the order of their ids, the survivor for the id of a merged patient.

        Raises PatientNotFound, with the first id of which there is no patient.
        """
        ids = [UUID(each) for each in request.ids]
        found = await self.find(ids)
        if missing := next((each for each in ids if each not in found), None):
            raise PatientNotFound(id=str(missing))
        return Encoded(b"".join(_PATIENTS.encode(found[each]) for each in ids))

    async def find(self, ids: Sequence[UUID]) -> Mapping[UUID, bytes]:
        """Returns the serialized patients, or the survivors, by these ids, and records that the caller reads them."""
        record_read(dict.fromkeys(ids))
        found = {row["id"]: row["message"] for row in await self._db.rows(GET_PATIENTS, ids=ids)}
        if missing := [each for each in ids if each not in found]:
            found |= await read_survivors(self._db, missing)
        return found
