"""The routes of patients."""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy import Select, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from bench.twin import schemas
from bench.twin.audit import build_event
from bench.twin.models import AccessEvent, OutboxRow, Patient, Revision, StoredResponse
from bench.twin.security import Caller, Roles

router = APIRouter(prefix="/v1/patients")

Member = Annotated[Caller, Depends(Roles("USER", "ADMIN"))]

_JSON = "application/json"
_NOT_DELETED = Patient.delete_time.is_(None)
_NEWEST_FIRST = (Patient.create_time.desc(), Patient.id.desc())


@router.post("", response_model=schemas.Patient)
async def create_patient(
    request: Request,
    new: schemas.NewPatient,
    caller: Member,
    idempotency_key: Annotated[str, Header(max_length=128)] = "",
) -> Response:
    """Creates a patient, once per idempotency key."""
    now = datetime.now(UTC)
    state = {"id": uuid7(), "create_time": now, "update_time": now, "delete_time": None, "sequence": 1}
    patient = Patient(**new.columns(), **state)
    content = _serialize(patient)
    try:
        async with request.app.state.db.changes.begin() as session:
            if idempotency_key:
                digest = hashlib.sha256(new.model_dump_json().encode()).digest()
                earlier = await _store_response(session, caller, idempotency_key, digest, content)
                if earlier is not None:
                    return Response(earlier, media_type=_JSON)
            session.add(patient)
            access = build_event(request, caller, "CreatePatient", [patient.id])
            _record_change(session, patient, content, access=access, has_account=True)
    except IntegrityError as error:
        raise HTTPException(409, "ALREADY_EXISTS") from error
    request.app.state.relay.wake()
    return Response(content, media_type=_JSON)


@router.get("/{patient_id}", response_model=schemas.Patient)
async def get_patient(request: Request, patient_id: UUID, caller: Member) -> Response:
    """Returns a patient."""
    state = request.app.state
    async with state.db.read() as session:
        patient = await session.get(Patient, patient_id)
    if patient is None or patient.delete_time is not None:
        raise HTTPException(404, "PATIENT_NOT_FOUND")
    state.audit.record(build_event(request, caller, "GetPatient", [patient_id]))
    return Response(_serialize(patient), media_type=_JSON)


@router.get("", response_model=schemas.PatientPage)
async def list_patients(
    request: Request,
    caller: Member,
    page_size: Annotated[int, Query(alias="pageSize", ge=0)] = 0,
    page_token: Annotated[str, Query(alias="pageToken", max_length=1024)] = "",
    query: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Lists patients, newest first."""
    size = min(page_size or 50, 1000)
    statement = select(Patient).where(_NOT_DELETED)
    if query:
        statement = statement.where(Patient.search_key.contains(schemas.fold_case(query), autoescape=True))
    async with request.app.state.db.read() as session:
        found = (await session.scalars(_limit_to_page(statement, page_token, size))).all()
    page = found[:size]
    request.app.state.audit.record(build_event(request, caller, "ListPatients", [patient.id for patient in page]))
    token = _encode_token(page[-1]) if len(found) > size else ""
    response = schemas.PatientPage.model_validate({"patients": page, "next_page_token": token})
    return Response(response.model_dump_json(by_alias=True), media_type=_JSON)


@router.patch("/{patient_id}", response_model=schemas.Patient)
async def update_patient(request: Request, patient_id: UUID, change: schemas.PatientChange, caller: Member) -> Response:
    """Updates the fields of a patient that the request contains."""
    given = change.model_dump(exclude_unset=True, exclude={"etag"})
    try:
        async with request.app.state.db.changes.begin() as session:
            patient = await session.get(Patient, patient_id, with_for_update=True)
            if patient is None or patient.delete_time is not None:
                raise HTTPException(404, "PATIENT_NOT_FOUND")
            if change.etag and change.etag != patient.etag:
                raise HTTPException(409, "ETAG_MISMATCH")
            before = (patient.name, patient.email)
            if not _apply(patient, given):
                return Response(_serialize(patient), media_type=_JSON)
            has_account = before != (patient.name, patient.email)
            access = build_event(request, caller, "UpdatePatient", [patient_id])
            _record_change(session, patient, _serialize(patient), access=access, has_account=has_account)
    except IntegrityError as error:
        raise HTTPException(409, "ALREADY_EXISTS") from error
    request.app.state.relay.wake()
    return Response(_serialize(patient), media_type=_JSON)


def _apply(patient: Patient, given: dict[str, Any]) -> bool:
    """Changes the given fields, and returns whether any of them differs. Raises HTTPException if they are invalid."""
    current = schemas.NewPatient.model_validate(patient)
    try:
        updated = schemas.NewPatient.model_validate({**current.model_dump(), **given})
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_context=False, include_input=False)) from None
    if updated == current:
        return False
    for name, value in updated.columns().items():
        setattr(patient, name, value)
    patient.update_time = datetime.now(UTC)
    patient.sequence += 1
    return True


def _record_change(
    session: AsyncSession, patient: Patient, content: str, *, access: dict[str, Any], has_account: bool
) -> None:
    """Adds the revision, the access event and the outbox row of a change to its transaction."""
    event_id, now, kind = uuid7(), patient.update_time, f"Patient{access['method'].removesuffix('Patient')}d"
    event = f'{{"eventId":"{event_id}","type":"{kind}","occurTime":"{now.isoformat()}","patient":{content}}}'
    account = schemas.AccountChange.model_construct(
        patient_id=patient.id, name=patient.name, email=patient.email, sequence=patient.sequence
    )
    session.add_all(
        [
            Revision(
                patient_id=patient.id,
                revision=patient.sequence,
                actor_id=access["actor_id"],
                occur_time=now,
                type=kind,
                patient=content.encode(),
            ),
            AccessEvent(**access),
            OutboxRow(
                event_id=event_id,
                key=str(patient.id),
                type=kind,
                payload=event.encode(),
                account=account.model_dump_json(by_alias=True).encode() if has_account else None,
                create_time=now,
            ),
        ]
    )


async def _store_response(session: AsyncSession, caller: Caller, key: str, digest: bytes, content: str) -> bytes | None:
    """Stores the response of a request, or returns the one that is already stored for its key."""
    values = {"actor_id": caller.id, "request_id": key, "digest": digest, "response": content.encode()}
    new = insert(StoredResponse).values(values).on_conflict_do_nothing().returning(StoredResponse.request_id)
    if await session.scalar(new):
        return None
    stored = await session.get_one(StoredResponse, (caller.id, key))
    if stored.digest != digest:
        raise HTTPException(400, "REQUEST_ID_REUSED")
    return stored.response


def _serialize(patient: Patient) -> str:
    return schemas.Patient.model_validate(patient).model_dump_json(by_alias=True)


def _limit_to_page(statement: Select[Patient], token: str, size: int) -> Select[Patient]:
    if token:
        statement = statement.where(tuple_(Patient.create_time, Patient.id) < tuple_(*_decode_token(token)))
    return statement.order_by(*_NEWEST_FIRST).limit(size + 1)


def _encode_token(last: Patient) -> str:
    values = json.dumps([last.create_time.isoformat(), str(last.id)])
    return base64.urlsafe_b64encode(values.encode()).decode()


def _decode_token(token: str) -> Sequence[Any]:
    """Returns the values of the sort columns in the last row of the previous page. Raises HTTPException."""
    try:
        create_time, patient_id = json.loads(base64.urlsafe_b64decode(token))
        return datetime.fromisoformat(create_time), UUID(patient_id)
    except (ValueError, TypeError):
        raise HTTPException(400, "PAGE_TOKEN_INVALID") from None
