"""ExportPatientData: streams all that the system knows of a person as a Bundle of FHIR.

Each page is read in a transaction of its own, and encoded before the next one is read.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import betterproto2
import grpc
from asyncpg import Record
from sqlalchemy import Uuid, bindparam, func, or_, select

from gen.google.api import HttpBody
from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse, ServiceAccessEvent
from gen.pulsetrack.billing.v1 import ListBillingAccountsRequest, ListBillingAccountsResponse
from gen.pulsetrack.patient.v1 import (
    ExportPatientDataRequest,
    ListCareTeamMembersRequest,
    ListPatientRevisionsRequest,
)
from services.common.audit.events import record_read
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.postgres.guards import see_all
from services.common.postgres.statement import Statement
from services.common.protobuf.contract import FHIR_CONTENT
from services.common.rpc.client import CallerCredentials, RemoteMethod
from services.patient.errors import PatientNotFound
from services.patient.fhir.mapping import Resource
from services.patient.fhir.person import (
    build_account,
    build_audit_event,
    build_care_team,
    build_entry,
    build_erasure,
    build_version,
)
from services.patient.fhir.resources import format_time, to_body
from services.patient.grants import LIST_GRANTS
from services.patient.models import LIST_REVISIONS, PATIENT_EXISTS, SEARCH, VISIBLE_PATIENTS, erasures, patients

T = TypeVar("T")
Q = TypeVar("Q", bound=betterproto2.Message)
R = TypeVar("R", bound=betterproto2.Message)

Pages = AsyncIterator[Iterable[Resource]]
Search = Callable[[SearchAccessEventsRequest], Awaitable[SearchAccessEventsResponse]]

_PAGE = 100
"""The number of rows that are read at once. A version of a patient can have 64 KiB."""

_MESSAGE_BYTES = 256 * 1024
"""A message is sent once it has this size. It exceeds it by less than an entry."""

_named = patients.alias("named")
# Sees all patients: the statement that contains it does not.
_survivor_id = (
    see_all(select(func.coalesce(_named.c.merged_into, _named.c.id)))
    .where(_named.c.id == bindparam("id", type_=Uuid))
    .scalar_subquery()
)
FIND_PERSON = Statement(
    VISIBLE_PATIENTS.with_only_columns(patients.c.id)
    .where(or_(patients.c.id == _survivor_id, patients.c.merged_into == _survivor_id))
    .order_by(patients.c.merged_into.is_not(None), patients.c.id)
)
"""Finds the patients that are the same person as a patient, deleted or not: the survivor, and those merged into it."""

FIND_ERASURE = Statement(
    select(erasures).where(
        erasures.c.patient_id == bindparam("patient_id", type_=Uuid), erasures.c.execute_time.is_(None)
    )
)
"""Finds the scheduled erasure of a patient."""


class PersonExportService:
    """Implements ExportPatientData."""

    def __init__(self, db: Database, billing: grpc.aio.Channel) -> None:
        """Takes a channel to billing, which is called with the token of the caller."""
        self._db = db
        self._list_accounts = _create_reader(
            billing, "ListBillingAccounts", ListBillingAccountsRequest, ListBillingAccountsResponse
        )
        self._searches: Mapping[str, Search] = {
            "billing": _create_reader(
                billing, "SearchBillingAccessEvents", SearchAccessEventsRequest, SearchAccessEventsResponse
            ),
            "patient": partial(SEARCH.page, db),
        }

    async def export_patient_data(self, request: ExportPatientDataRequest) -> AsyncGenerator[HttpBody, None]:
        """Yields the parts of a Bundle.

        Raises PatientNotFound, also if the patient is erased meanwhile, and DependencyUnavailable.
        """
        ids = [row["id"] for row in await self._db.rows(FIND_PERSON, id=request.id)]
        if not ids:
            raise PatientNotFound
        record_read(ids)
        timestamp = format_time(datetime.now(UTC))
        data = bytearray(
            b'{"resourceType":"Bundle","type":"collection","timestamp":"%b","entry":[' % timestamp.encode()
        )
        separator = b""
        async with aclosing(self._read_person([str(each) for each in ids])) as pages:
            async for page in pages:
                for resource in page:
                    data += separator + to_body(build_entry(resource)).data
                    separator = b","
                    if len(data) >= _MESSAGE_BYTES:
                        yield HttpBody(content_type=FHIR_CONTENT, data=bytes(data))
                        data.clear()
        yield HttpBody(content_type=FHIR_CONTENT, data=bytes(data + b"]}"))

    async def _read_person(self, ids: Sequence[str]) -> AsyncGenerator[Iterable[Resource], None]:
        """Yields pages of resources. Those of billing are first, so that its failure is the response."""
        for read in (
            self._read_accounts,
            partial(self._read_events, "billing"),
            self._read_versions,
            self._read_care_team,
            self._read_erasure,
            partial(self._read_events, "patient"),
        ):
            for patient_id in ids:
                async for page in read(patient_id):
                    yield page
        for patient_id in ids:
            if not await self._db.row(PATIENT_EXISTS, id=patient_id):
                raise PatientNotFound

    async def _read_accounts(self, patient_id: str) -> Pages:
        response = await self._list_accounts(ListBillingAccountsRequest(patient_id=patient_id))
        yield map(build_account, response.billing_accounts)

    async def _read_versions(self, patient_id: str) -> Pages:
        async def read(page_token: str) -> tuple[Sequence[Record], str]:
            request = ListPatientRevisionsRequest(id=patient_id, page_size=_PAGE, page_token=page_token)
            return await LIST_REVISIONS.read_page(self._db, request, id=patient_id)

        async for rows in _read_pages(read):
            yield (resource for row in rows for resource in build_version(row))

    async def _read_care_team(self, patient_id: str) -> Pages:
        async def read(page_token: str) -> tuple[Sequence[Record], str]:
            request = ListCareTeamMembersRequest(id=patient_id, page_size=_PAGE, page_token=page_token)
            return await LIST_GRANTS.read_page(self._db, request, patient_id=patient_id)

        async for rows in _read_pages(read):
            yield [build_care_team(patient_id, rows)] if rows else []

    async def _read_erasure(self, patient_id: str) -> Pages:
        yield map(build_erasure, await self._db.rows(FIND_ERASURE, patient_id=patient_id))

    async def _read_events(self, service: str, patient_id: str) -> Pages:
        async def read(page_token: str) -> tuple[Sequence[ServiceAccessEvent], str]:
            request = SearchAccessEventsRequest(subject_id=patient_id, page_size=_PAGE, page_token=page_token)
            response = await self._searches[service](request)
            return response.access_events, response.next_page_token

        async for events in _read_pages(read):
            yield [build_audit_event(event, service, patient_id) for event in events]


def _create_reader(
    billing: grpc.aio.Channel, method: str, request: type[Q], response: type[R]
) -> Callable[[Q], Awaitable[R]]:
    """Returns a function that calls a method of billing. It raises DependencyUnavailable."""
    call = RemoteMethod(billing, "billing", method, request, response, credentials=CallerCredentials())

    async def read(request: Q) -> R:
        try:
            return await call(request)
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable from error

    return read


async def _read_pages(read: Callable[[str], Awaitable[tuple[Sequence[T], str]]]) -> AsyncIterator[Sequence[T]]:
    """Yields the pages of a list. Takes a function from a page token to the page and the next token."""
    page, page_token = await read("")
    yield page
    while page_token:
        page, page_token = await read(page_token)
        yield page
