"""The statements of grants: the members of care teams, and the callers that broke glass."""

from datetime import timedelta

from sqlalchemy import Interval, Text, Uuid, bindparam, case, delete, func, literal, null, select
from sqlalchemy.dialects.postgresql import insert

from services.common.postgres.guards import VIEWER, see_all
from services.common.postgres.paging import Listing
from services.common.postgres.statement import Statement
from services.patient.models import IS_GRANT_VALID, grants, patients

BREAK_GLASS_PERIOD = timedelta(hours=1)
"""How long a caller that broke glass has access, and the period of the limit."""

_user_id = bindparam("user_id", type_=Text)
_patient_id = bindparam("patient_id", type_=Uuid)
_key = (grants.c.user_id, grants.c.patient_id)
_is_member = grants.c.expire_time.is_(None)
_is_of_user = grants.c.user_id == _user_id
_is_of_patient = grants.c.patient_id == _patient_id
_period = literal(BREAK_GLASS_PERIOD, Interval)

_add = insert(grants).values(user_id=_user_id, patient_id=_patient_id, expire_time=null())
ADD_MEMBER = Statement(
    _add.on_conflict_do_update(
        index_elements=_key,
        set_={
            "create_time": case((_is_member, grants.c.create_time), else_=func.now()),
            "expire_time": null(),
        },
    ).returning(*grants.c)
)
REMOVE_GRANT = Statement(delete(grants).where(_is_of_user, _is_of_patient).returning(grants.c.expire_time))
LIST_MEMBERS = Listing(
    select(grants).where(_is_of_patient, _is_member),
    grants.c.create_time,
    grants.c.user_id,
)
LIST_GRANTS = Listing(select(grants).where(_is_of_patient), grants.c.create_time, grants.c.user_id)
"""Lists the members of a care team, and the users who broke glass."""

FIND_TEAM = Statement(select(grants.c.user_id).where(_is_of_patient, _is_member).order_by(grants.c.user_id))

LOCK_USER = Statement(select(func.pg_advisory_xact_lock(func.hashtextextended(_user_id, 0)).label("lock")))
"""Makes concurrent calls of a user wait for each other until the transaction ends."""

# Sees all patients: the method exists for callers to whom the patient is not visible.
FIND_RESTRICTION = Statement(
    see_all(
        select(
            patients.c.restricted,
            patients.c.merged_into,
            (grants.c.user_id.is_not(None) & _is_member).label("is_member"),
        )
    )
    .outerjoin_from(patients, grants, (grants.c.patient_id == patients.c.id) & _is_of_user)
    .where(patients.c.id == _patient_id)
)
COUNT_BROKEN = Statement(
    select(func.count().label("count"))
    .select_from(grants)
    .where(_is_of_user, ~_is_of_patient, grants.c.expire_time > func.now())
)
"""Counts the other patients for which a user broke glass within the period: the access lasts as long."""

_break = insert(grants).values(user_id=_user_id, patient_id=_patient_id, expire_time=func.now() + _period)
_is_recent = grants.c.create_time > func.now() - _period
BREAK_GLASS = Statement(
    _break.on_conflict_do_update(
        index_elements=_key,
        set_={
            "create_time": case((_is_recent, grants.c.create_time), else_=func.now()),
            "expire_time": _break.excluded.expire_time,
        },
    ).returning(grants.c.expire_time, (grants.c.create_time == func.now()).label("is_first"))
)
"""Gives access. It `is_first` if it is the caller's first for the patient within the period: the others extend it."""

LIST_RESTRICTED = Statement(
    select(grants.c.patient_id)
    .join_from(grants, patients, patients.c.id == grants.c.patient_id)
    .where(grants.c.user_id == bindparam(VIEWER, type_=Text), IS_GRANT_VALID, patients.c.restricted)
    .order_by(grants.c.patient_id)
)
"""Lists the restricted patients that the current caller may see by a grant."""
