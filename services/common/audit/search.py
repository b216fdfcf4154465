"""Searches the access events of a service by actor and by subject."""

import re
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

_USER_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_SUBJECTS_RETURNED = 20
_MAX_IDS_READ = 200  # more than the number of groups in a list of 1,000


class Search:
    """The searches that a service supports."""

    def __init__(self, tables: AuditTables) -> None:
        self._tables = tables
        event, group = tables.events.c, tables.groups.c
        ids, wanted_ids = event.subject_ids, bindparam("subject_ids", type_=ARRAY(Uuid))
        rows = select(
            *(column for column in event if column is not ids),
            ids[1:_MAX_IDS_READ].label("first_subject_ids"),
            func.cardinality(ids).label("subject_count"),
        )
        groups = select(func.array_agg(group.id)).where(group.subject_ids.contains(wanted_ids)).scalar_subquery()
        by_actor = event.actor_id == bindparam("actor_id")
        by_subject = ids.overlap(func.array_cat(wanted_ids, groups))
        # Ids are UUIDs of version 7, so they sort by time. No index has the columns that the events of a subject are
        # sorted by, so Postgres uses the index by subject.
        subject_order = (event.occur_time, event.id)
        self.subject_listing = Listing(rows.where(by_subject), *subject_order)
        """The events of one subject, newest first, by the parameter `subject_ids`."""
        self._listings = {
            (False, False): Listing(rows, event.id),
            (True, False): Listing(rows.where(by_actor), event.id),
            (False, True): self.subject_listing,
            (True, True): Listing(rows.where(by_actor, by_subject), *subject_order),
        }

    async def page(self, db: Database | Transaction, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of the events that match a request, newest first. Raises PageTokenInvalid."""
        listing = self._listings[bool(request.actor_id), bool(request.subject_id)]
        actor_id = _normalize_actor_id(request.actor_id)
        values: dict[str, Any] = {"actor_id": actor_id, "subject_ids": [request.subject_id]}
        rows, next_page_token = await listing.read_page(db, request, **values)
        groups = await self._get_groups(db, rows)
        return SearchAccessEventsResponse(
            access_events=[_build_event(row, groups) for row in rows], next_page_token=next_page_token
        )

    async def _get_groups(self, db: Database | Transaction, rows: Sequence[Record]) -> Mapping[UUID, Sequence[UUID]]:
        """Returns the subjects of the groups that events refer to, by the id of the group."""
        ids = {each for row in rows for each in row["first_subject_ids"] if is_group_id(each)}
        found = await db.rows(self._tables.get_groups, ids=list(ids)) if ids else []
        return {row["id"]: row["subject_ids"] for row in found}


def _normalize_actor_id(actor_id: str) -> str:
    """Returns a user id in lower case, as it is stored. A client id is returned unchanged."""
    lower = actor_id.lower()
    return lower if _USER_ID.fullmatch(lower) else actor_id


def _build_event(row: Record, groups: Mapping[UUID, Sequence[UUID]]) -> ServiceAccessEvent:
    ids: Sequence[UUID] = row["first_subject_ids"]
    subject_ids = [subject_id for each in ids for subject_id in groups.get(each, (each,))]
    method, query = split_call(row["method"])
    return ServiceAccessEvent(
        id=str(row["id"]),
        subject_ids=[str(subject_id) for subject_id in subject_ids[:_MAX_SUBJECTS_RETURNED]],
        subject_count=row["subject_count"] + len(subject_ids) - len(ids),
        actor_id=row["actor_id"],
        method=method,
        query=query,
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )
