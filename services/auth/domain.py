"""Decisions about a user, without a database: what is stored, how an update merges."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import User
from gen.pulsetrack.options.v1 import Role
from services.auth.usernames import skeleton
from services.common.errors import FieldsInvalid
from services.common.protobuf.masks import find_mask_violation, select_updated_fields
from services.common.text import fold_case, normalize

_CHANGEABLE = ("role", "disabled")
_IMMUTABLE = ("email", "username")


def columns(email: str, username: str, password_hash: str, *, role: Role) -> dict[str, Any]:
    """Returns the values of a new user's columns."""
    return {
        "id": uuid7(),
        "email": normalize(email),
        "email_key": fold_case(email),
        "username": normalize(username),
        "username_key": fold_case(username),
        "username_skeleton": skeleton(username),
        "password_hash": password_hash,
        "role": role.name,
    }


def user_of(row: Record) -> User:
    """Returns the user that a row holds."""
    return User(
        id=str(row["id"]),
        email=row["email"],
        username=row["username"],
        role=Role[row["role"]],
        disabled=row["disabled"],
        create_time=row["create_time"],
    )


def merged(current: User, change: User, mask: Iterable[str] | None) -> User:
    """Returns the current user with the fields of the change that the mask names (AIP-134).

    Without a mask, those that have a value; "*" means all that can change. Raises FieldsInvalid for a field that does
    not exist or cannot change, and for a role that is to be none.
    """
    wrong = {f"user.{name}": "cannot be changed" for name in _IMMUTABLE if _differs(name, current, change)}
    if rejected := find_mask_violation(mask, _CHANGEABLE):
        wrong["update_mask"] = rejected
    updated = select_updated_fields(mask, change, _CHANGEABLE)
    if "role" in updated and not change.role:
        wrong["user.role"] = "value is required"
    if wrong:
        raise FieldsInvalid(wrong)
    return replace(current, **{name: getattr(change, name) for name in updated})


def _differs(name: str, current: User, change: User) -> bool:
    return bool(getattr(change, name)) and getattr(change, name) != getattr(current, name)


def is_restricted(user: User, before: Record) -> bool:
    """Returns whether a user may do less than before: the access tokens that the user has must not be accepted."""
    disabled = user.disabled and not before["disabled"]
    return disabled or (before["role"] == "ADMIN" and user.role is not Role.ADMIN)
