"""Decisions about users, without a database."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.auth.v1 import User
from gen.pulsetrack.options.v1 import Role
from services.auth.domain import has_fewer_rights, merge_user, to_columns
from services.common.errors import FieldsInvalid

ANA = User(
    id=str(uuid4()),
    email="ana@clinic.test",
    username="ana",
    role=Role.USER,
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
)


def build_user(**fields: Any) -> User:
    """Returns a change to ANA with the given fields."""
    return User(id=ANA.id, **fields)


def test_columns_hold_normalized_text_and_case_folded_keys() -> None:
    columns = to_columns("Ana@Clinic.test", "Ana", "a hash", role=Role.ADMIN)
    assert (columns["email"], columns["email_key"]) == ("Ana@Clinic.test", "ana@clinic.test")
    assert (columns["username"], columns["username_key"], columns["username_skeleton"]) == ("Ana", "ana", "ana")
    assert (columns["password_hash"], columns["role"]) == ("a hash", "ADMIN")


def test_update_without_mask_changes_fields_that_have_a_value() -> None:
    assert merge_user(ANA, build_user(disabled=True), None).disabled
    assert merge_user(ANA, build_user(role=Role.ADMIN), None).role is Role.ADMIN


def test_mask_selects_the_fields_that_change() -> None:
    merged = merge_user(ANA, build_user(role=Role.ADMIN, disabled=True), ["disabled"])
    assert (merged.role, merged.disabled) == (Role.USER, True)


def test_update_preserves_all_other_fields() -> None:
    merged = merge_user(ANA, build_user(role=Role.ADMIN), ["*"])
    assert (merged.id, merged.email, merged.username) == (ANA.id, ANA.email, ANA.username)
    assert merged.create_time == ANA.create_time


@pytest.mark.parametrize(
    ("change", "mask", "violated"),
    [
        (build_user(email="other@clinic.test"), None, ["user.email"]),
        (build_user(username="other"), None, ["user.username"]),
        (build_user(), ["email"], ["update_mask"]),
        (build_user(), ["role"], ["user.role"]),
        (build_user(email="other@clinic.test"), ["*", "id"], ["update_mask", "user.email", "user.role"]),
    ],
)
def test_invalid_update_is_rejected(change: User, mask: list[str] | None, violated: list[str]) -> None:
    with pytest.raises(FieldsInvalid) as rejected:
        merge_user(ANA, change, mask)
    assert sorted(rejected.value.violations) == violated


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (User(role=Role.ADMIN), User(role=Role.USER)),
        (User(role=Role.USER), User(role=Role.USER, disabled=True)),
    ],
    ids=["demoted", "disabled"],
)
def test_demoted_or_disabled_user_has_fewer_rights(before: User, after: User) -> None:
    assert has_fewer_rights(after, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (User(role=Role.USER), User(role=Role.ADMIN)),
        (User(role=Role.USER, disabled=True), User(role=Role.USER)),
        (User(role=Role.USER, disabled=True), User(role=Role.USER, disabled=True)),
    ],
    ids=["promoted", "enabled", "still disabled"],
)
def test_other_updates_do_not_reduce_rights(before: User, after: User) -> None:
    assert not has_fewer_rights(after, before)
