"""Reads of rows about patients, in services that copy patients from the patient service.

Each row tells whether its patient is restricted. Who may see a restricted patient is known to the patient service only.
A read that finds rows of restricted patients therefore asks it, on behalf of the caller, and then reads again. Other
reads do not depend on the patient service.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import grpc
from asyncpg import Record
from sqlalchemy import ColumnElement, Uuid, any_, bindparam, not_, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from gen.pulsetrack.patient.v1 import GetPatientAccessRequest, PatientAccess
from services.common.context import current_viewer
from services.common.errors import DependencyUnavailable
from services.common.postgres.database import Database
from services.common.postgres.statement import Statement
from services.common.rpc.client import CallerCredentials, RemoteMethod

ACCESSIBLE = "accessible"
"""The parameter of a guarded table: the restricted patients whose rows a statement returns, or NULL for all."""


def is_accessible(patient_id: ColumnElement[UUID], restricted: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the condition of a guarded table."""
    accessible = bindparam(ACCESSIBLE, type_=ARRAY(Uuid))
    # Postgres does not know the result of the subquery when it plans, so it keeps one plan.
    sees_all = select(accessible).scalar_subquery().is_(None)
    return or_(sees_all, not_(restricted), patient_id == any_(accessible))


FindAccess = Callable[[], Awaitable[Sequence[str]]]
"""Returns the restricted patients that the current caller may see. Raises DependencyUnavailable."""


def create_access_finder(patient: grpc.aio.Channel) -> FindAccess:
    """Returns a function that asks the patient service, with the token of the caller."""
    get = RemoteMethod(
        patient,
        "patient",
        "GetPatientAccess",
        GetPatientAccessRequest,
        PatientAccess,
        credentials=CallerCredentials(),
    )

    async def find() -> Sequence[str]:
        try:
            access = await get(GetPatientAccessRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:  # such as that of a machine client
                return ()
            raise DependencyUnavailable from error
        return access.patient_ids

    return find


class VisibleRows:
    """Reads the rows that the current caller may see. The rows have the column `restricted`."""

    def __init__(self, db: Database, find_access: FindAccess) -> None:
        self._db = db
        self._find_access = find_access

    async def row(self, statement: Statement, /, **values: Any) -> Record | None:
        """Returns the first row of a statement, or None. Raises DependencyUnavailable."""
        return next(iter(await self.rows(statement, **values)), None)

    async def rows(self, statement: Statement, /, **values: Any) -> Sequence[Record]:
        """Returns the rows of a statement. Raises DependencyUnavailable if the patient service cannot be asked."""
        rows = await self._db.rows(statement, **values, accessible=None)
        if current_viewer() is None or not any(row["restricted"] for row in rows):
            return rows
        return await self._db.rows(statement, **values, accessible=await self._find_access())
