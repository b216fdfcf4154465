"""Searching a service's access events by who called and whom the call was about."""

from typing import Any

from asyncpg import Record
from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from gen.pulsetrack.audit.v1 import SearchAccessEventsRequest, SearchAccessEventsResponse, ServiceAccessEvent
from services.common.audit.tables import AuditTables
from services.common.db import Database, Transaction
from services.common.paging import Listing

_SUBJECTS_SHOWN = 20


class Search:
    """What is asked of a service's access events."""

    def __init__(self, tables: AuditTables) -> None:
        event = tables.events.c
        ids = event.subject_ids
        rows = select(
            *(column for column in event if column is not ids),
            ids[1:_SUBJECTS_SHOWN].label("first_subject_ids"),
            func.cardinality(ids).label("subject_count"),
        )
        by_actor = event.actor_id == bindparam("actor_id")
        by_subject = ids.contains(bindparam("subject_ids", type_=ARRAY(Uuid)))
        # Ids are UUIDs of version 7, in the order of their times. The events of a subject are sorted by what no index
        # has, so that the index by subject is used.
        of_subject = (event.occur_time, event.id)
        self.of_subject = Listing(rows.where(by_subject), *of_subject)
        """The events about one subject, newest first, by the parameter `subject_ids`."""
        self._listings = {
            (False, False): Listing(rows, event.id),
            (True, False): Listing(rows.where(by_actor), event.id),
            (False, True): self.of_subject,
            (True, True): Listing(rows.where(by_actor, by_subject), *of_subject),
        }

    async def page(self, db: Database | Transaction, request: SearchAccessEventsRequest) -> SearchAccessEventsResponse:
        """Returns a page of the events that a request asks for, newest first. Raises PageTokenInvalid."""
        listing = self._listings[bool(request.actor_id), bool(request.subject_id)]
        values: dict[str, Any] = {"actor_id": request.actor_id, "subject_ids": [request.subject_id]}
        rows, next_page_token = await listing.page(db, request, **values)
        return SearchAccessEventsResponse(access_events=[_event(row) for row in rows], next_page_token=next_page_token)


def _event(row: Record) -> ServiceAccessEvent:
    return ServiceAccessEvent(
        id=str(row["id"]),
        subject_ids=[str(subject_id) for subject_id in row["first_subject_ids"]],
        subject_count=row["subject_count"],
        actor_id=row["actor_id"],
        method=row["method"],
        outcome=row["outcome"],
        occur_time=row["occur_time"],
        request_id=row["request_id"],
        remote_address=row["remote_address"],
    )
