"""Decisions about users that need no database."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import User
from gen.pulsetrack.options.v1 import Role
from services.auth.usernames import build_skeleton
from services.common.emails import build_key
from services.common.errors import FieldsInvalid
from services.common.protobuf.masks import EMPTY_UPDATE, find_mask_violation, select_updated_fields
from services.common.protobuf.violations import REQUIRED
from services.common.text import fold_case, normalize

_UPDATABLE = ("role", "disabled")
_IMMUTABLE = ("email", "username")

IMMUTABLE = "must not be changed"


def to_columns(
    email: str, username: str, password_hash: str, *, role: Role, email_verified: bool = False
) -> dict[str, Any]:
    """Returns the columns of a new user."""
    return {
        "id": uuid7(),
        "email": normalize(email),
        "email_key": build_key(email),
        "username": normalize(username),
        "username_key": fold_case(username),
        "username_skeleton": build_skeleton(username),
        "password_hash": password_hash,
        "role": role.name,
        "email_verified": email_verified,
    }


def to_user(row: Record) -> User:
    """Returns the user of a row."""
    return User(
        id=str(row["id"]),
        email=row["email"],
        username=row["username"],
        role=Role[row["role"]],
        disabled=row["disabled"],
        create_time=row["create_time"],
        second_factor=row["second_factor"],
        email_verified=row["email_verified"],
    )


def merge_user(current: User, change: User, mask: Iterable[str] | None) -> User:
    """Returns the current user with the fields of the change that the mask selects (AIP-134).

    Raises FieldsInvalid for a mask or a change with fields that cannot be updated, for an update that clears the role,
    and if no field is updated.
    """
    violations = {f"user.{name}": IMMUTABLE for name in _IMMUTABLE if _differs(name, current, change)}
    violations |= find_change_violations(change, mask)
    updated = select_updated_fields(mask, change, _UPDATABLE)
    if not updated and not violations:
        violations["update_mask"] = EMPTY_UPDATE
    if violations:
        raise FieldsInvalid(violations)
    return replace(current, **{name: getattr(change, name) for name in updated})


def find_change_violations(change: User, mask: Iterable[str] | None) -> dict[str, str]:
    """Returns the violations of an update that do not depend on the current user, by field path."""
    violations = {}
    if violation := find_mask_violation(mask, _UPDATABLE):
        violations["update_mask"] = violation
    if "role" in select_updated_fields(mask, change, _UPDATABLE) and not change.role:
        violations["user.role"] = REQUIRED
    return violations


def _differs(name: str, current: User, change: User) -> bool:
    return bool(getattr(change, name)) and getattr(change, name) != getattr(current, name)


def has_fewer_rights(user: User, before: User) -> bool:
    """Returns whether an update disables or demotes a user, which requires revoking the user's access tokens."""
    is_disabled_now = user.disabled and not before.disabled
    return is_disabled_now or (before.role is Role.ADMIN and user.role is not Role.ADMIN)
