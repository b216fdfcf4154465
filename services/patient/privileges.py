"""The privileges of the patient service on its tables."""

from services.common.postgres.privileges import APPEND_ONLY, READ_ONLY, READ_WRITE, Privileges

PRIVILEGES: Privileges = {
    "access_events": APPEND_ONLY,
    "access_groups": APPEND_ONLY,
    "access_seals": APPEND_ONLY,
    "answers": READ_WRITE,
    "erasures": READ_WRITE,
    "fhir_exports": READ_WRITE,
    "incarnations": READ_ONLY,
    "outbox": READ_WRITE,
    "patient_grants": READ_WRITE,
    "patients": READ_WRITE,
    "revisions": APPEND_ONLY,
    "topics": READ_WRITE,
}
