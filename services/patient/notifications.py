"""Notifications of care teams. Each commits with the access that it reports."""

from collections.abc import Sequence
from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import BreakGlassAccess, NotifyUsersRequest
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Transaction
from services.common.protobuf import codec

NOTIFICATIONS = "notifications"
"""The outbox destination of requests for mail to users."""

NOTIFICATION_CODEC = codec.codec_of(NotifyUsersRequest)

_MAX_USERS = 500
"""The maximum number of users in NotifyUsersRequest."""


def notify_care_team(
    tx: Transaction, outbox: Outbox, members: Sequence[str], *, patient_id: str, actor_id: str
) -> None:
    """Adds notifications of the members that a user broke glass to a transaction."""
    access = BreakGlassAccess(patient_id=patient_id, actor_id=actor_id, occur_time=datetime.now(UTC))
    for start in range(0, len(members), _MAX_USERS):
        event_id = uuid7()
        request = NotifyUsersRequest(
            request_id=str(event_id), user_ids=list(members[start : start + _MAX_USERS]), break_glass_access=access
        )
        outbox.add(
            tx,
            destinations=[NOTIFICATIONS],
            event_id=event_id,
            key=patient_id,
            kind=codec.full_name(NotifyUsersRequest),
            payload=NOTIFICATION_CODEC.dumps(request),
        )
