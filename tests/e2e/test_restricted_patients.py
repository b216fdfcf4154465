"""Care-team escapes: every method of the protos that a user may call, for a restricted patient and for an unknown one.

A user outside of the care team must get the same answers for both. A new method is tested without a change here.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from services.common.protobuf.contract import SERVICES, Method, all_methods
from tests.e2e.sessions import Session, a_patient
from tests.e2e.surfaces import Result, Surface, open_surfaces
from tests.harness.waiting import eventually
from tests.patient.fhir_resources import a_resource
from tools.instance import Instance

METHODS = [method for method in all_methods() if "USER" in method.access.roles and SERVICES["auth"] not in method.path]
REVEALING = {"BreakGlass"}
"""Methods that reveal a restricted patient by design."""


class Target(NamedTuple):
    """A patient, which need not exist, and its billing account."""

    id: str
    account_id: str
    name: str

    def build_request(self, method: Method) -> dict[str, Any]:
        """Returns a request that names the patient in every field that can."""
        fields = method.input.DESCRIPTOR.fields_by_name
        values = {
            "ids": [self.id],
            "id": self.account_id if SERVICES["billing"] in method.path else self.id,
            "patient_id": self.id,
            "subject_id": self.id,
            "query": self.name,
            "parameters": "" if "id" in fields else f"name={self.name}",
            "patient": {"id": self.id, "phone": "112"},
            "resource": {"data": base64.b64encode(json.dumps(a_resource(id=self.id)).encode()).decode()},
            "version": "1",
            "user_id": str(uuid4()),
            "reason": "Unconscious in the emergency room",
        }
        return {field.json_name: values[name] for name, field in fields.items() if name in values}

    def is_in(self, result: Result) -> bool:
        """Returns whether a response contains the patient."""
        text = str({name: value for name, value in result.body.items() if name != "link"})  # repeats the request
        return any(each in text for each in self)


@pytest.fixture(scope="module")
def restricted(member: Session) -> Target:
    """A restricted patient, once every service has received its events."""
    name = uuid4().hex
    created = member.post("/v1/patients", a_patient(name=name, restricted=True))
    query = {"patientId": created["id"]}
    [account] = eventually(lambda: member.get("/v1/billing/accounts", **query)["billingAccounts"])
    eventually(lambda: member.get("/v1/analytics/events", **query)["events"])
    return Target(created["id"], account["id"], name)


@pytest.fixture(scope="module")
def unknown() -> Target:
    """A patient that does not exist."""
    return Target(str(uuid4()), str(uuid4()), uuid4().hex)


@pytest.fixture(scope="module")
def member(system: Instance) -> Iterator[Session]:
    """The user who creates the patient."""
    with Session.sign_up(system) as session:
        yield session


@pytest.fixture(scope="module")
def outsiders(system: Instance, restricted: Target) -> Iterator[dict[str, Surface]]:
    """The surfaces, for a user outside of the care team."""
    with Session.sign_up(system) as session, open_surfaces(system, session) as surfaces:
        yield surfaces


@pytest.mark.parametrize("surface", ["REST", "gRPC", "service"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_outsider_gets_the_answer_for_an_unknown_patient(
    outsiders: dict[str, Surface], restricted: Target, unknown: Target, method: Method, surface: str
) -> None:
    if method.name in REVEALING or (method.streams and surface == "REST"):
        return
    results = [outsiders[surface](method.name, **each.build_request(method)) for each in (restricted, unknown)]
    assert not restricted.is_in(results[0])
    if results[0].reason:
        assert results[0] == results[1]
    else:
        assert results[1].code == "OK"


def test_member_sees_the_patient_where_outsiders_do_not(system: Instance, member: Session, restricted: Target) -> None:
    with open_surfaces(system, member) as surfaces:
        results = {
            method.name: surfaces["service"](method.name, **restricted.build_request(method)) for method in METHODS
        }
    assert {name for name, result in results.items() if restricted.is_in(result)} == {
        "GetPatient",
        "UpdatePatient",
        "ListPatients",
        "ListPatientRevisions",
        "ListCareTeamMembers",
        "GetPatientAccess",
        "GetFhirPatient",
        "BatchGetPatients",
        "FindFhirPatients",
        "UpdateFhirPatient",
        "GetFhirPatientHistory",
        "GetFhirPatientVersion",
        "GetBillingAccount",
        "ListBillingAccounts",
        "ListPatientEvents",
    }


def test_rest_conditions_do_not_reveal_the_patient(
    outsiders: dict[str, Surface], system: Instance, restricted: Target, unknown: Target
) -> None:
    with Session.sign_up(system) as outsider:
        for headers in ({"if-none-match": '"1"'}, {"if-none-match": "*"}, {}):
            statuses = [
                outsider.rest.get(f"/v1/patients/{each.id}", headers=headers).status_code
                for each in (restricted, unknown)
            ]
            assert statuses == [404, 404]
        for match in ('"0"', '"1"', "*"):
            statuses = [
                outsider.rest.patch(
                    f"/v1/patients/{each.id}", json={"phone": "112"}, headers={"if-match": match}
                ).status_code
                for each in (restricted, unknown)
            ]
            assert statuses == [404, 404]
