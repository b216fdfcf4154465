"""The main user journey: log in, create a patient, read its account and its event."""

import json
import shutil
import subprocess
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import GetPatientStatisticsRequest, ListPatientEventsRequest, PatientEventType
from gen.pulsetrack.auth.v1 import CreateUserRequest, GetCurrentUserRequest, LoginRequest
from gen.pulsetrack.billing.v1 import AccountStatus, GetBillingAccountRequest, ListBillingAccountsRequest
from gen.pulsetrack.patient.v1 import CreatePatientRequest, GetPatientRequest, Patient
from tests.e2e.sessions import ADMIN_EMAIL, PASSWORD, Session, a_patient
from tests.harness.waiting import eventually
from tools.instance import Instance


def test_journey_by_rest(user: Session) -> None:
    created = user.post("/v1/patients", a_patient(name="José Pérez", sex="SEX_MALE"))
    assert user.get(f"/v1/patients/{created['id']}") == created
    accounts = eventually(lambda: user.get("/v1/billing/accounts", patientId=created["id"]).get("billingAccounts"))
    assert [(a["patientId"], a["name"], a["status"]) for a in accounts] == [
        (created["id"], "José Pérez", "ACCOUNT_STATUS_ACTIVE")
    ]
    assert user.get(f"/v1/billing/accounts/{accounts[0]['id']}") == accounts[0]
    events = eventually(lambda: user.get("/v1/analytics/events", patientId=created["id"]).get("events"))
    me = user.get("/v1/auth/me")
    assert [(e["type"], e["sequence"], e["actorId"]) for e in events] == [("PATIENT_EVENT_TYPE_CREATED", "1", me["id"])]
    assert int(user.get("/v1/analytics/statistics")["totalPatients"]) > 0


def test_journey_by_grpc(system: Instance) -> None:
    with Session.log_in(system, ADMIN_EMAIL, system.admin_password) as admin, Session.open(system) as anonymous:
        to_be_user = CreateUserRequest(email="native@clinic.test", username="native", password=PASSWORD)
        new, auth = admin.client("auth").create_user(to_be_user), anonymous.client("auth")
        tokens = auth.login(LoginRequest(email="native@clinic.test", password=PASSWORD))
    with Session.open(system, tokens.access_token) as session:
        assert session.client("auth").get_current_user(GetCurrentUserRequest()) == new
        patients, billing, analytics = (session.client(name) for name in ("patient", "billing", "analytics"))
        to_be = Patient(name="Ana", email="ana@native.test", address="1 Road", date_of_birth="1980-02-29")
        created = patients.create_patient(CreatePatientRequest(patient=to_be))
        assert patients.get_patient(GetPatientRequest(id=created.id)) == created
        of_patient = ListBillingAccountsRequest(patient_id=created.id)
        [account] = eventually(lambda: billing.list_billing_accounts(of_patient).billing_accounts)
        assert account.status is AccountStatus.ACTIVE
        assert billing.get_billing_account(GetBillingAccountRequest(id=account.id)) == account
        its_events = ListPatientEventsRequest(patient_id=created.id)
        [event] = eventually(lambda: analytics.list_patient_events(its_events).events)
        assert (event.type, event.actor_id) == (PatientEventType.CREATED, new.id)
        assert analytics.get_patient_statistics(GetPatientStatisticsRequest()).total_patients > 0


def test_journey_by_grpcurl(system: Instance, user: Session) -> None:
    program = shutil.which("grpcurl")
    if not program:
        pytest.skip("grpcurl is not installed")

    def grpcurl(*arguments: str) -> str:
        command = [program, "-plaintext", "-H", f"authorization: Bearer {user.token}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    address = system.url.removeprefix("http://")
    assert "pulsetrack.patient.v1.PatientService" in grpcurl(address, "list").split()
    patient = {**a_patient(), "date_of_birth": "1980-02-29"}
    del patient["dateOfBirth"]
    request = json.dumps({"patient": patient})
    created = json.loads(grpcurl("-d", request, address, "pulsetrack.patient.v1.PatientService/CreatePatient"))
    assert user.get(f"/v1/patients/{created['id']}")["email"] == patient["email"]


def test_session_is_refreshed_and_logged_out(system: Instance) -> None:
    with Session.sign_up(system) as session:
        tokens = session.post("/v1/auth/refresh", {"refreshToken": session.refresh_token})
        assert session.post("/v1/auth/logout", {"refreshToken": tokens["refreshToken"]}) == {}
        again = session.rest.post("/v1/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert (again.status_code, again.json()["details"][0]["reason"]) == (401, "REFRESH_TOKEN_INVALID")


def test_admin_deletes_a_patient(user: Session, admin: Session) -> None:
    created = user.post("/v1/patients", a_patient())
    rejected = user.rest.delete(f"/v1/patients/{created['id']}")
    assert (rejected.status_code, rejected.json()["details"][0]["reason"]) == (403, "ROLE_REQUIRED")
    deleted = admin.rest.delete(f"/v1/patients/{created['id']}").raise_for_status().json()
    assert deleted["deleteTime"]
    assert user.rest.get(f"/v1/patients/{created['id']}").status_code == 404
    eventually(lambda: len(user.get("/v1/analytics/events", patientId=created["id"]).get("events", [])) == 2)


def test_deleting_a_patient_closes_the_account_and_updates_statistics(user: Session, admin: Session) -> None:
    def count() -> int:
        sexes = user.get("/v1/analytics/statistics").get("sexes", [])
        return sum(int(each["count"]) for each in sexes if each.get("sex") == "SEX_OTHER")

    def account(**query: str) -> dict[str, str] | None:
        accounts = user.get("/v1/billing/accounts", patientId=created["id"], **query).get("billingAccounts", [])
        return accounts[0] if accounts else None

    before = count()
    created = user.post("/v1/patients", a_patient(sex="SEX_OTHER", dateOfBirth="1901-01-01"))
    eventually(lambda: count() == before + 1)
    assert {"fromAge": 90}.items() <= user.get("/v1/analytics/statistics")["ageBands"][-1].items()
    eventually(lambda: account(status="ACCOUNT_STATUS_ACTIVE"))
    admin.rest.delete(f"/v1/patients/{created['id']}").raise_for_status()
    closed = eventually(lambda: account(status="ACCOUNT_STATUS_CLOSED"))
    assert closed
    assert admin.post(f"/v1/billing/accounts/{closed['id']}:close", {}) == closed
    eventually(lambda: count() == before)


def test_admin_reads_dead_letters(admin: Session) -> None:
    assert admin.get("/v1/analytics/dead-letters") == {"deadLetters": [], "nextPageToken": ""}
    response = admin.rest.post(f"/v1/analytics/dead-letters/{uuid4()}:replay", json={})
    assert (response.status_code, response.json()["details"][0]["reason"]) == (404, "DEAD_LETTER_NOT_FOUND")
