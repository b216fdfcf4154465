"""Lists of patients over REST, through the gateway."""

from uuid import uuid4

import pytest

from tests.e2e.sessions import Session, a_patient, list_all


def test_list_orders_and_filters_over_rest(user: Session, admin: Session) -> None:
    query = uuid4().hex
    for name, sex, birth in (("B", "SEX_MALE", "1980-01-01"), ("A", "SEX_MALE", "1990-01-01"), ("C", "SEX_OTHER", "")):
        body = a_patient(name=f"{name} {query}", sex=sex, dateOfBirth=birth or "1970-01-01")
        created = user.post("/v1/patients", body)
    admin.rest.delete(f"/v1/patients/{created['id']}").raise_for_status()

    def list_names(**parameters: str) -> list[str]:
        return [patient["name"][0] for patient in list_all(user, "/v1/patients", "patients", query=query, **parameters)]

    assert list_names() == ["A", "B"]
    assert list_names(showDeleted="true") == ["C", "A", "B"]
    assert list_names(orderBy="name desc", showDeleted="true") == ["C", "B", "A"]
    assert list_names(orderBy="date_of_birth", sex="SEX_MALE") == ["B", "A"]
    assert list_names(bornAfter="1980-01-01") == ["A"]
    assert list_names(bornBefore="1980-01-02") == ["B"]
    assert list_names(registeredBefore="1980-01-02") == []


@pytest.mark.parametrize(
    "parameters", [{"orderBy": "email"}, {"bornAfter": "1980-02-30"}, {"registeredBefore": "soon"}]
)
def test_invalid_list_parameter_is_reported(user: Session, parameters: dict[str, str]) -> None:
    response = user.rest.get("/v1/patients", params=parameters)
    details = {detail["@type"].split(".")[-1]: detail for detail in response.json()["details"]}
    assert (response.status_code, details["ErrorInfo"]["reason"]) == (400, "FIELDS_INVALID")
    assert len(details["BadRequest"]["fieldViolations"]) == 1
