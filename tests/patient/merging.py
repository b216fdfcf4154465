"""Merges patients, and reads what a merge leaves."""

from typing import Any

from gen.pulsetrack.patient.v1 import (
    GetPatientRequest,
    MergePatientsRequest,
    Patient,
    PatientEvent,
    UnmergePatientsRequest,
)
from services.common.protobuf import codec
from services.patient.changes import TOPIC
from tests.harness.client import Client
from tests.harness.sql import Sql
from tests.patient.factory import create_request


def create_pair(client: Client, **fields: Any) -> tuple[Patient, Patient]:
    """Creates two patients: a survivor, and one to merge into it."""
    return client.create_patient(create_request(**fields)), client.create_patient(create_request(**fields))


def merge(admin: Client, survivor: Patient, merged: Patient, **fields: Any) -> Patient:
    """Merges a patient into another one, and returns the response."""
    response: Patient = admin.merge_patients(MergePatientsRequest(id=survivor.id, merged_id=merged.id, **fields))
    return response


def unmerge(admin: Client, patient: Patient) -> Patient:
    """Restores a merged patient, and returns the response."""
    response: Patient = admin.unmerge_patients(UnmergePatientsRequest(id=patient.id))
    return response


def get(client: Client, patient: Patient) -> Patient:
    """Reads a patient by its id."""
    response: Patient = client.get_patient(GetPatientRequest(id=patient.id))
    return response


def read_events(sql: Sql, patient: Patient) -> list[PatientEvent]:
    """Returns the events of a patient, oldest first."""
    rows = sql("SELECT payload FROM outbox WHERE key = $1 AND destination = $2 ORDER BY id", patient.id, TOPIC)
    return [codec.codec_of(PatientEvent).loads(row["payload"]) for row in rows]
