"""Searches the access events of a service by actor and by subject."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asyncpg import Record
from sqlalchemy import ColumnElement, DateTime, Table, Text, Uuid, bindparam, func, select, true, tuple_, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse, ServiceAccessEvent
from services.common.audit.tables import AuditTables, first_id, has_one_id, has_several_ids, is_group_id, split_call
from services.common.postgres.database import Database, Transaction
from services.common.postgres.paging import LIMIT, Filter, Keyset, Listing, constant

_USER_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_SUBJECTS_RETURNED = 20
_MAX_IDS_READ = 200  # more than the number of groups in a list of 1,000
EXAMINED = 500

_AFTER = (bindparam("after_occur_time", type_=DateTime(timezone=True)), bindparam("after_id", type_=Uuid))
"""The parameters of the last event of the previous page."""

_BEFORE_FIRST = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


class _SubjectListing(Listing):
    """The events of one subject, newest first, by the parameter `subject_ids`, an array of its id.

    Reads the newest events with only the subject or one of its groups from an index, as many as the page needs of each,
    and the events with several ids from another. A page therefore takes longer only if the subject is in more groups.
    """

    def __init__(self, tables: AuditTables, filtered: Filter | None = None) -> None:
        wanted_ids = bindparam("subject_ids", type_=ARRAY(Uuid))
        groups = select(tables.groups.c.id).where(tables.groups.c.subject_ids.contains(wanted_ids))
        ids = select(func.unnest(wanted_ids).column_valued("id")).union_all(groups).cte("ids")
        event, columns = tables.events.c, _select_columns(tables.events)
        # Postgres does not know the result of a subquery. If it expected fewer events than that, it would sort them.
        limit = select(constant(filtered.examined)).scalar_subquery() if filtered else LIMIT
        newest = Keyset((event.occur_time, event.id), (True, True))
        first = first_id(tables.events)
        # The range contains only events whose first id is this one. With an equality instead, Postgres would expect few
        # events, and sort those of each id.
        of_each_id = select(*columns).where(
            has_one_id(tables.events),
            first >= ids.c.id,
            tuple_(first, event.occur_time, event.id) < tuple_(ids.c.id, *_AFTER),
        )
        of_each_id = of_each_id.order_by(first.desc(), event.occur_time.desc(), event.id.desc()).limit(limit)
        all_ids = select(func.array_agg(ids.c.id)).scalar_subquery()
        of_any_id = select(*columns).where(has_several_ids(tables.events), event.subject_ids.overlap(all_ids))
        of_any_id = newest.sort(newest.skip(of_any_id)).limit(limit)
        each = of_each_id.lateral("of_each_id")
        found = union_all(
            select(each).select_from(ids.join(each, true())), select(of_any_id.subquery("of_any_id"))
        ).subquery()
        super().__init__(select(found), found.c.occur_time, found.c.id, filtered=filtered, begin=_BEFORE_FIRST)


class Search:
    """The searches that a service supports."""

    def __init__(self, tables: AuditTables, *, examined: int = EXAMINED) -> None:
        """Takes the tables, and how many events of a subject a search by subject and actor examines for a page."""
        self._tables = tables
        rows = select(*_select_columns(tables.events))
        event, actor_id = tables.events.c, bindparam("actor_id", type_=Text)
        by_actor = Filter(lambda row: select(*row).where(row.actor_id == actor_id), examined)
        self.subject_listing = _SubjectListing(tables)
        """The events of one subject, newest first, by the parameter `subject_ids`."""
        # Ids are UUIDs of version 7, so they sort by time.
        self._listings = {
            (False, False): Listing(rows, event.id),
            (True, False): Listing(rows.where(event.actor_id == actor_id), event.id),
            (False, True): self.subject_listing,
            (True, True): _SubjectListing(tables, by_actor),
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


def _select_columns(events: Table) -> list[ColumnElement[Any]]:
    """Returns the columns of an event that a search reads, with the number of its ids and the first of them."""
    ids = events.c.subject_ids
    return [
        *(column for column in events.c if column is not ids),
        ids[1:_MAX_IDS_READ].label("first_subject_ids"),
        func.cardinality(ids).label("subject_count"),
    ]


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
