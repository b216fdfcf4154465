"""Tests of field masks."""

import pytest

from gen.pulsetrack.patient.v1 import Patient
from services.common.protobuf.masks import find_mask_violation, select_updated_fields

UPDATABLE = ("name", "email", "phone")
CHANGE = Patient(id="7", name="Ana Silva", phone="112")


@pytest.mark.parametrize(
    ("mask", "selected"),
    [
        (None, {"name", "phone"}),
        ([], {"name", "phone"}),
        (["email"], {"email"}),
        (["name", "email", "name"], {"name", "email"}),
        (["*"], {"name", "email", "phone"}),
        (["*", "name"], {"name", "email", "phone"}),
        (["id"], set()),
    ],
)
def test_mask_selects_updatable_fields(mask: list[str] | None, selected: set[str]) -> None:
    assert select_updated_fields(mask, CHANGE, UPDATABLE) == selected


@pytest.mark.parametrize("mask", [None, [], ["name"], ["*"], ["*", "email"]])
def test_mask_of_allowed_paths_has_no_violation(mask: list[str] | None) -> None:
    assert find_mask_violation(mask, UPDATABLE) is None


def test_violation_lists_rejected_paths_in_order() -> None:
    violation = find_mask_violation(["zip", "*", "name", "id", "zip"], UPDATABLE)
    assert violation == "must not contain fields that cannot be updated: id, zip"
