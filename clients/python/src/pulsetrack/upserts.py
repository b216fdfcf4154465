"""Creates or updates the patients of records, by their keys."""

import unicodedata
from collections.abc import Sequence
from contextlib import aclosing

from pulsetrack.errors import AlreadyExists, Conflict, InvalidArgument, NotFound, PermissionDenied, PulseTrackError
from pulsetrack.imports import REFUSED, Result
from pulsetrack.patient.v1.patient_pb2 import Patient
from pulsetrack.patients import PatientFields, Patients
from pulsetrack.records import Record

_TIMEOUT = 120
"""Seconds in which a call is repeated, for example while a service restarts."""
_REFUSALS = (AlreadyExists, Conflict, InvalidArgument, NotFound, PermissionDenied)


class Upsert:
    """Imports records. A repeated import changes nothing.

    The key of a record is its medical record number, or its email address if it has none.
    """

    def __init__(self, patients: Patients, *, update: bool) -> None:
        """With `update`, a record changes the patient that has its key. Otherwise, it is refused if it would."""
        self._patients = patients
        self._update = update

    async def send(self, batch: Sequence[Record]) -> Sequence[Result]:
        """Imports a batch, and returns a result per record. Raises PulseTrackError if the system is not available."""
        return [await self._import(record.patient) for record in batch if record.patient]

    async def _import(self, patient: Patient) -> Result:
        fields = PatientFields(**{field.name: value for field, value in patient.ListFields()})  # type: ignore[typeddict-item]
        try:
            await self._patients.create(timeout=_TIMEOUT, **fields)
        except AlreadyExists as error:
            return await self._import_existing(patient, fields, error)
        except _REFUSALS as error:
            return _refuse(error)
        return Result("created")

    async def _import_existing(self, patient: Patient, fields: PatientFields, error: AlreadyExists) -> Result:
        existing = await self._find(patient)
        if not existing:
            return _refuse(error)
        changes = {name: each for name, each in fields.items() if _form(each) != _form(getattr(existing, name))}
        if not changes:
            return Result("same")
        if not self._update:
            return _refuse(error)
        try:
            await self._patients.update(existing.id, etag=existing.etag, timeout=_TIMEOUT, **PatientFields(**changes))  # type: ignore[typeddict-item]
        except _REFUSALS as failure:
            return _refuse(failure)
        return Result("updated")

    async def _find(self, patient: Patient) -> Patient | None:
        field = "medical_record_number" if patient.medical_record_number else "email"
        key = getattr(patient, field)
        async with aclosing(self._patients.list(query=key, page_size=1)) as found:  # an exact match is the first
            first = await anext(found, None)
        return first if first and _form(getattr(first, field)).casefold() == _form(key).casefold() else None


def _form(value: object) -> str:
    """Returns a value as the server stores it."""
    return unicodedata.normalize("NFC", str(value)).replace("\r\n", "\n").strip()


def _refuse(error: PulseTrackError) -> Result:
    return Result(REFUSED, error.reason, error.violations)
