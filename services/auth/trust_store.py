"""The statements that read and change the signing keys, and those that list what is revoked."""

from sqlalchemy import Interval, bindparam, delete, func, insert, or_, select, update

from services.auth.models import signing_keys, users
from services.common.postgres.statement import Statement

LIST_REVOCATIONS = Statement(
    select(users.c.id, users.c.token_version, users.c.disabled).where(
        users.c.revoke_time > func.now() - bindparam("within", type_=Interval)
    )
)
LOCK_SIGNING_KEYS = Statement(select(func.pg_advisory_xact_lock(1)))
LIST_SIGNING_KEYS = Statement(
    select(signing_keys)
    .where(or_(signing_keys.c.retire_time.is_(None), signing_keys.c.retire_time > func.now()))
    .order_by(signing_keys.c.activate_time.desc(), signing_keys.c.id)
)
INSERT_SIGNING_KEY = Statement(
    insert(signing_keys)
    .values(
        id=bindparam("id"),
        encrypted_pem=bindparam("encrypted_pem"),
        activate_time=func.now() + bindparam("activates_in", type_=Interval),
    )
    .returning(*signing_keys.c)
)
RETIRE_SIGNING_KEYS = Statement(
    update(signing_keys)
    .where(signing_keys.c.retire_time.is_(None), signing_keys.c.id != bindparam("successor"))
    .values(retire_time=bindparam("retires"))
)
DELETE_SIGNING_KEYS = Statement(delete(signing_keys))
DELETE_RETIRED_SIGNING_KEYS = Statement(delete(signing_keys).where(signing_keys.c.retire_time < func.now()))
