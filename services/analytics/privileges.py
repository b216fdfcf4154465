"""The privileges of the analytics service on its tables."""

from services.common.postgres.privileges import APPEND_ONLY, READ_ONLY, READ_WRITE, Privileges

PRIVILEGES: Privileges = {
    "access_events": APPEND_ONLY,
    "access_groups": APPEND_ONLY,
    "access_seals": APPEND_ONLY,
    "birthday_counts": READ_ONLY,
    "dead_letters": READ_WRITE,
    "event_counts": READ_ONLY,
    "events": READ_WRITE,
    "incarnations": READ_ONLY,
    "patient_counts": READ_ONLY,
    "patients": READ_WRITE,
    "topics": READ_WRITE,
}
