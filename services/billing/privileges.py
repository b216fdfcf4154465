"""The privileges of the billing service on its tables."""

from services.common.postgres.privileges import APPEND_ONLY, READ_ONLY, READ_WRITE, Privileges

PRIVILEGES: Privileges = {
    "access_events": APPEND_ONLY,
    "access_groups": APPEND_ONLY,
    "access_seals": APPEND_ONLY,
    "accounts": READ_WRITE,
    "incarnations": READ_ONLY,
}
