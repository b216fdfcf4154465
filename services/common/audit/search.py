"""Searching a service's access events by who called and whom the call was about."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse, ServiceAccessEvent
from services.common.audit.tables import AuditTables, is_group_id, split_call
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import Listing

_SUBJECTS_SHOWN = 20
_SUBJECTS_READ = 200  # more than a list of 1,000 has groups


class Search:
    """What is asked of a service's access events."""

    def __init__(self, tables: AuditTables) -> None:
        self._tables = tables
        event, group = tables.events.c, tables.groups.c
        ids, asked_for = event.subject_ids, bindparam("subject_ids", type_=ARRAY(Uuid))
        rows = select(
            *(column for column in event if column is not ids),
            ids[1:_SUBJECTS_READ].label("first_subject_ids"),
            func.cardinality(ids).label("subject_count"),
        )
        groups = select(func.array_agg(group.id)).where(group.subject_ids.contains(asked_for)).scalar_subquery()
        by_actor = event.actor_id == bindparam("actor_id")
        by_subject = ids.overlap(func.array_cat(asked_for, groups))
        # Ids are UUIDs of version 7, in the order of their times. The events of a subject are sorted by what no index
        # has, so that the index by subject is used.
        of_subject = (event.occur_time, event.id)
        self.subject_listing = Listing(rows.where(by_subject), *of_subject)
        """The events about one subject, newest first, by the parameter `subject_ids`."""
        self._listings = {
            (False, False): Listing(rows, event.id),
            (True, False): Listing(rows.where(by_actor), event.id),
            (False, True): self.subject_listing,
            (True, True): Listing(rows.where(by_actor, by_subject), *of_subject),
        }

    async def page(self, db: Database | Transaction, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of the events that a request asks for, newest first. Raises PageTokenInvalid."""
        listing = self._listings[bool(request.actor_id), bool(request.subject_id)]
        values: dict[str, Any] = {"actor_id": request.actor_id, "subject_ids": [request.subject_id]}
        rows, next_page_token = await listing.read_page(db, request, **values)
        groups = await self._groups(db, rows)
        return SearchAccessEventsResponse(
            access_events=[_event(row, groups) for row in rows], next_page_token=next_page_token
        )

    async def _groups(self, db: Database | Transaction, rows: Sequence[Record]) -> Mapping[UUID, Sequence[UUID]]:
        ids = {each for row in rows for each in row["first_subject_ids"] if is_group_id(each)}
        found = await db.rows(self._tables.get_groups, ids=list(ids)) if ids else []
        return {row["id"]: row["subject_ids"] for row in found}


def _event(row: Record, groups: Mapping[UUID, Sequence[UUID]]) -> ServiceAccessEvent:
    named: Sequence[UUID] = row["first_subject_ids"]
    subject_ids = [subject_id for each in named for subject_id in groups.get(each, (each,))]
    method, query = split_call(row["method"])
    return ServiceAccessEvent(
        id=str(row["id"]),
        subject_ids=[str(subject_id) for subject_id in subject_ids[:_SUBJECTS_SHOWN]],
        subject_count=row["subject_count"] + len(subject_ids) - len(named),
        actor_id=row["actor_id"],
        method=method,
        query=query,
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )
