"""PATCH over REST updates the fields in the body."""

import pytest

from tests.e2e.sessions import Session, a_patient


@pytest.mark.parametrize("value", ["", None])
def test_patch_clears_an_optional_field(user: Session, value: str | None) -> None:
    path = f"/v1/patients/{user.post('/v1/patients', a_patient(phone='+351 21 000 000'))['id']}"
    assert user.get(path)["phone"] == "+351 21 000 000"
    user.rest.patch(path, json={"phone": value}).raise_for_status()
    assert not user.get(path).get("phone")


def test_patch_with_a_required_field_empty_is_rejected(user: Session) -> None:
    path = f"/v1/patients/{user.post('/v1/patients', a_patient())['id']}"
    response = user.rest.patch(path, json={"name": ""})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (400, "FIELDS_INVALID")


@pytest.mark.parametrize("body", ['{"phnoe": "1"}', "{}", "", '{"createTime": "2020-01-01T00:00:00Z"}'])
def test_patch_that_changes_nothing_is_rejected(user: Session, body: str) -> None:
    path = f"/v1/patients/{user.post('/v1/patients', a_patient())['id']}"
    before = user.get(path)
    assert user.rest.patch(path, content=body, headers={"content-type": "application/json"}).status_code == 400
    assert user.get(path) == before
