"""Restricted patients for tests: requests, and clients of users in and outside of a care team."""

from typing import Any
from uuid import uuid4

from gen.pulsetrack.patient.v1 import (
    AddCareTeamMemberRequest,
    BreakGlassRequest,
    GetPatientRequest,
    Patient,
    RemoveCareTeamMemberRequest,
)
from tests.harness.client import Client, Rejected, attempt
from tests.harness.tokens import Signer
from tests.patient.factory import create_request

REASON = "Unconscious in the emergency room"


class User:
    """A user, and a client with its token."""

    def __init__(self, client: Client, signer: Signer) -> None:
        self.id = str(uuid4())
        self.client = client.with_token(signer.long_lived_token("USER", sub=self.id))

    def sees(self, patient: Patient) -> bool:
        """Returns whether the user can read a patient."""
        response = attempt(lambda: self.client.get_patient(GetPatientRequest(id=patient.id)))
        assert not isinstance(response, Rejected) or response.reason == "PATIENT_NOT_FOUND"
        return not isinstance(response, Rejected)

    def break_glass(self, patient: Patient, reason: str = REASON) -> Any:
        """Breaks glass. Raises Rejected."""
        return self.client.break_glass(BreakGlassRequest(id=patient.id, reason=reason))


def create_restricted(client: Client, **fields: Any) -> Patient:
    """Creates a restricted patient."""
    created: Patient = client.create_patient(create_request(restricted=True, **fields))
    return created


def add_member(admin: Client, patient: Patient, user: User) -> None:
    """Adds a user to the care team of a patient."""
    admin.add_care_team_member(AddCareTeamMemberRequest(id=patient.id, user_id=user.id))


def remove_member(admin: Client, patient: Patient, user: User) -> None:
    """Removes a user from the care team of a patient."""
    admin.remove_care_team_member(RemoveCareTeamMemberRequest(id=patient.id, user_id=user.id))
