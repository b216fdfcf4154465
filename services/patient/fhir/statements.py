"""The statements that read the versions of patients with their FHIR resources."""

from sqlalchemy import BigInteger, Uuid, bindparam, case, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.common.postgres.paging import constant
from services.common.postgres.statement import Statement
from services.common.protobuf.contract import MAX_MESSAGE_BYTES
from services.patient.models import REVISES_VISIBLE, revisions

MAX_PAGE_BYTES = MAX_MESSAGE_BYTES - 1024
"""The maximum size of a page: a little less than that of the message which contains it."""

_ids, _versions = bindparam("ids", type_=ARRAY(Uuid)), bindparam("versions", type_=ARRAY(BigInteger))
_sent = func.unnest(_ids, _versions).table_valued(column("id", Uuid), column("version", BigInteger))
_sent = _sent.render_derived(name="sent")
_is_sent = (revisions.c.patient_id == _sent.c.id) & (revisions.c.revision == _sent.c.version)
_bytes = func.sum(func.octet_length(revisions.c.resource)).over()
_resource = case((_bytes <= constant(MAX_PAGE_BYTES), revisions.c.resource)).label("resource")

GET_RESOURCES = Statement(
    select(revisions.c.patient_id, revisions.c.revision, _resource)
    .join_from(_sent, revisions, _is_sent)
    .where(revisions.c.resource.is_not(None), REVISES_VISIBLE)
)
"""Returns the resources of versions of patients, of those that have one. All are null if a page cannot contain them."""

GET_VERSION = Statement(
    select(revisions).where(
        revisions.c.patient_id == bindparam("id", type_=Uuid),
        revisions.c.revision == bindparam("version", type_=BigInteger),
        REVISES_VISIBLE,
    )
)
