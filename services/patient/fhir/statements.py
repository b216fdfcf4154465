"""The statements that read the versions of patients with their FHIR resources."""

from sqlalchemy import BigInteger, Uuid, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.postgres.statement import Statement
from services.patient.models import REVISES_VISIBLE, revisions

_ids, _versions = bindparam("ids", type_=ARRAY(Uuid)), bindparam("versions", type_=ARRAY(BigInteger))
_sent = func.unnest(_ids, _versions).table_valued(column("id", Uuid), column("version", BigInteger))
_sent = _sent.render_derived(name="sent")
_is_sent = (revisions.c.patient_id == _sent.c.id) & (revisions.c.revision == _sent.c.version)

GET_RESOURCES = Statement(
    select(revisions.c.patient_id, revisions.c.revision, revisions.c.resource)
    .join_from(_sent, revisions, _is_sent)
    .where(revisions.c.resource.is_not(None), REVISES_VISIBLE)
)
"""Returns the resources of versions of patients, of those that have one."""

GET_VERSION = Statement(
    select(revisions).where(
        revisions.c.patient_id == bindparam("id", type_=Uuid),
        revisions.c.revision == bindparam("version", type_=BigInteger),
        REVISES_VISIBLE,
    )
)
