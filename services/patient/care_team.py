"""The RPCs about access to restricted patients: care teams, and breaking glass."""

from uuid import UUID

import msgspec
from asyncpg import Record

from gen.google.protobuf import Empty
from gen.pulsetrack.patient.v1 import (
    AddCareTeamMemberRequest,
    BreakGlassRequest,
    BreakGlassResponse,
    CareTeamMember,
    GetPatientAccessRequest,
    ListCareTeamMembersRequest,
    ListCareTeamMembersResponse,
    PatientAccess,
    RemoveCareTeamMemberRequest,
)
from services.common.audit.events import current_access, record_change
from services.common.context import Caller, current_viewer
from services.common.errors import FieldsInvalid, RateLimited
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database, Transaction
from services.common.text import find_violation
from services.patient.errors import AlreadyMerged, BreakGlassNotNeeded, CareTeamMemberNotFound, PatientNotFound
from services.patient.grants import (
    ADD_MEMBER,
    BREAK_GLASS,
    COUNT_BROKEN,
    FIND_RESTRICTION,
    FIND_TEAM,
    LIST_MEMBERS,
    LIST_RESTRICTED,
    LOCK_USER,
    REMOVE_GRANT,
)
from services.patient.models import PATIENT_EXISTS
from services.patient.notifications import notify_care_team

MAX_BROKEN = 10
"""The number of patients for which a caller may break glass within an hour."""


class CareTeamService:
    """Implements the methods of PatientService that grant access to restricted patients."""

    def __init__(self, db: Database, outbox: Outbox) -> None:
        self._db = db
        self._outbox = outbox

    async def add_care_team_member(self, request: AddCareTeamMemberRequest) -> CareTeamMember:
        """Adds a user to the care team of a patient.

        Raises PatientNotFound.
        """
        async with self._db.begin() as tx:
            await _check_patient(tx, request.id)
            [row] = await tx.rows(ADD_MEMBER, patient_id=request.id, user_id=request.user_id.lower())
            record_change(tx, UUID(request.id))
            return _to_member(row)

    async def remove_care_team_member(self, request: RemoveCareTeamMemberRequest) -> Empty:
        """Removes a user from the care team of a patient, and ends the access of a user that broke glass.

        Raises PatientNotFound, CareTeamMemberNotFound.
        """
        async with self._db.begin() as tx:
            await _check_patient(tx, request.id)
            if await tx.row(REMOVE_GRANT, patient_id=request.id, user_id=request.user_id.lower()) is None:
                raise CareTeamMemberNotFound
            record_change(tx, UUID(request.id))
            return Empty()

    async def list_care_team_members(self, request: ListCareTeamMembersRequest) -> ListCareTeamMembersResponse:
        """Returns a page of the members of a care team, newest first.

        Raises PatientNotFound, PageTokenInvalid.
        """
        await _check_patient(self._db, request.id)
        rows, next_page_token = await LIST_MEMBERS.read_page(self._db, request, patient_id=request.id)
        members = [_to_member(row) for row in rows]
        return ListCareTeamMembersResponse(care_team_members=members, next_page_token=next_page_token)

    async def break_glass(self, request: BreakGlassRequest, caller: Caller) -> BreakGlassResponse:
        """Gives the caller access to a restricted patient for an hour, and informs the care team by mail.

        The access event contains the reason.

        Raises FieldsInvalid for an invisible reason, PatientNotFound, AlreadyMerged, BreakGlassNotNeeded, RateLimited.
        """
        if violation := find_violation(request.reason):
            raise FieldsInvalid({"reason": violation})
        details = msgspec.json.encode({"reason": request.reason}).decode()
        current_access.get().details = details  # for an event of a rejected call
        patient_id, user_id = request.id, caller.id
        async with self._db.begin() as tx:
            await tx.row(LOCK_USER, user_id=user_id)
            row = await tx.row(FIND_RESTRICTION, patient_id=patient_id, user_id=user_id)
            if row is None:
                raise PatientNotFound
            if row["merged_into"]:
                raise AlreadyMerged(id=patient_id, survivor_id=str(row["merged_into"]))
            if current_viewer() is None or not row["restricted"] or row["is_member"]:
                raise BreakGlassNotNeeded
            [broken] = await tx.rows(COUNT_BROKEN, patient_id=patient_id, user_id=user_id)
            if broken["count"] >= MAX_BROKEN:
                raise RateLimited
            [granted] = await tx.rows(BREAK_GLASS, patient_id=patient_id, user_id=user_id)
            if granted["is_first"]:  # the caller could otherwise send any number of mails
                members = [row["user_id"] for row in await tx.rows(FIND_TEAM, patient_id=patient_id)]
                notify_care_team(tx, self._outbox, members, patient_id=patient_id.lower(), actor_id=user_id)
            record_change(tx, UUID(patient_id), details=details)
            return BreakGlassResponse(expire_time=granted["expire_time"])

    async def get_patient_access(self, request: GetPatientAccessRequest) -> PatientAccess:
        """Returns the restricted patients that are visible to the caller."""
        if current_viewer() is None:
            return PatientAccess(all_patients=True)
        rows = await self._db.rows(LIST_RESTRICTED)
        return PatientAccess(patient_ids=[str(row["patient_id"]) for row in rows])


async def _check_patient(db: Database | Transaction, patient_id: str) -> None:
    """Raises PatientNotFound if a patient does not exist or is not visible to the caller."""
    if await db.row(PATIENT_EXISTS, id=patient_id) is None:
        raise PatientNotFound


def _to_member(row: Record) -> CareTeamMember:
    return CareTeamMember(patient_id=str(row["patient_id"]), user_id=row["user_id"], create_time=row["create_time"])
