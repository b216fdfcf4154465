"""Requests that fail over gRPC and REST, and the expected errors."""

import base64
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

from grpc import StatusCode as Code

from tests.e2e.sessions import PASSWORD, Session, a_patient


class Clients(NamedTuple):
    """Clients with different credentials."""

    user: Session
    admin: Session
    anonymous: Session
    forger: Session


class Call(NamedTuple):
    """A request that fails. `request` contains the fields of the request message as JSON."""

    client: Session
    method: str
    request: dict[str, Any]


def send_invalid_field(clients: Clients) -> Call:
    return Call(clients.user, "GetPatient", {"id": "no uuid"})


def send_modified_page_token(clients: Clients) -> Call:
    return Call(clients.user, "ListPatients", {"pageToken": "A"})


def reuse_request_id(clients: Clients) -> Call:
    request_id = str(uuid4())
    clients.user.rest.post("/v1/patients", json=a_patient(), params={"requestId": request_id}).raise_for_status()
    return Call(clients.user, "CreatePatient", {"patient": a_patient(), "requestId": request_id})


def omit_token(clients: Clients) -> Call:
    return Call(clients.anonymous, "GetPatient", {"id": str(uuid4())})


def forge_token(clients: Clients) -> Call:
    return Call(clients.forger, "GetPatient", {"id": str(uuid4())})


def send_wrong_password(clients: Clients) -> Call:
    return Call(clients.user, "Login", {"email": f"{uuid4()}@clinic.test", "password": "something else"})


def forge_refresh_token(clients: Clients) -> Call:
    return Call(clients.user, "RefreshToken", {"refreshToken": "invented"})


def forge_invitation(clients: Clients) -> Call:
    return Call(clients.user, "AcceptInvitation", {"token": "invented", "username": uuid4().hex, "password": PASSWORD})


def forge_reset_token(clients: Clients) -> Call:
    return Call(clients.user, "ResetPassword", {"token": "invented", "newPassword": PASSWORD})


def forge_verification_token(clients: Clients) -> Call:
    return Call(clients.user, "VerifyEmail", {"token": "invented"})


def forge_challenge(clients: Clients) -> Call:
    return Call(clients.user, "VerifySecondFactor", {"challenge": "invented", "code": "123456"})


def send_wrong_code(clients: Clients) -> Call:
    clients.user.post("/v1/auth/me/secondFactor:enroll", {"currentPassword": PASSWORD})
    return Call(clients.user, "ConfirmSecondFactor", {"code": "no-such-code"})


def remove_missing_second_factor(clients: Clients) -> Call:
    user_id = sign_up_user(clients)["id"]
    return Call(clients.admin, "RemoveUserSecondFactor", {"userId": user_id})


def revoke_unknown_client(clients: Clients) -> Call:
    return Call(clients.admin, "RevokeClient", {"id": str(uuid4())})


def rotate_revoked_client(clients: Clients) -> Call:
    client = create_client(clients)["client"]
    clients.admin.post(f"/v1/clients/{client['id']}:revoke", {})
    return Call(clients.admin, "RotateClientSecret", {"id": client["id"]})


def request_scope_of_another_client(clients: Clients) -> Call:
    created = create_client(clients)
    credentials = {"client_id": created["client"]["id"], "client_secret": created["clientSecret"]}
    request = {"grant_type": "client_credentials", "scope": "billing.read", **credentials}
    return Call(clients.anonymous, "IssueClientToken", request)


def request_token_with_a_password(clients: Clients) -> Call:
    return Call(clients.anonymous, "IssueClientToken", {"grant_type": "password"})


def revoke_unknown_invitation(clients: Clients) -> Call:
    return Call(clients.admin, "RevokeInvitation", {"id": str(uuid4())})


def revoke_unknown_session(clients: Clients) -> Call:
    return Call(clients.user, "RevokeSessions", {"sessionId": str(uuid4())})


def reset_password_of_disabled_user(clients: Clients) -> Call:
    new = sign_up_user(clients)
    clients.admin.rest.patch(f"/v1/users/{new['id']}", json={"disabled": True}).raise_for_status()
    return Call(clients.admin, "CreatePasswordReset", {"userId": new["id"]})


def call_without_role(clients: Clients) -> Call:
    return Call(clients.user, "DeletePatient", {"id": str(uuid4())})


def log_in_as_disabled_user(clients: Clients) -> Call:
    new = sign_up_user(clients)
    clients.admin.rest.patch(f"/v1/users/{new['id']}", json={"disabled": True}).raise_for_status()
    return Call(clients.user, "Login", {"email": new["email"], "password": PASSWORD})


def get_unknown_patient(clients: Clients) -> Call:
    return Call(clients.user, "GetPatient", {"id": str(uuid4())})


def remove_unknown_member(clients: Clients) -> Call:
    created = clients.user.post("/v1/patients", a_patient())
    return Call(clients.admin, "RemoveCareTeamMember", {"id": created["id"], "userId": str(uuid4())})


def break_glass_without_need(clients: Clients) -> Call:
    created = clients.user.post("/v1/patients", a_patient())
    return Call(clients.user, "BreakGlass", {"id": created["id"], "reason": "Unconscious in the emergency room"})


def delete_merged_patient(clients: Clients) -> Call:
    survivor, merged = (clients.user.post("/v1/patients", a_patient())["id"] for _ in range(2))
    clients.admin.post(f"/v1/patients/{survivor}:merge", {"mergedId": merged})
    return Call(clients.admin, "DeletePatient", {"id": merged})


def merge_patient_into_itself(clients: Clients) -> Call:
    unknown = str(uuid4())
    return Call(clients.admin, "MergePatients", {"id": unknown, "mergedId": unknown})


def merge_restricted_patient(clients: Clients) -> Call:
    survivor, merged = (
        clients.user.post("/v1/patients", a_patient(restricted=restricted))["id"] for restricted in (False, True)
    )
    return Call(clients.admin, "MergePatients", {"id": survivor, "mergedId": merged})


def update_unknown_user(clients: Clients) -> Call:
    return Call(clients.admin, "UpdateUser", {"user": {"id": str(uuid4()), "disabled": True}})


def get_unknown_account(clients: Clients) -> Call:
    return Call(clients.user, "GetBillingAccount", {"id": str(uuid4())})


def replay_unknown_dead_letter(clients: Clients) -> Call:
    return Call(clients.admin, "ReplayDeadLetter", {"id": str(uuid4())})


def reuse_email(clients: Clients) -> Call:
    created = clients.user.post("/v1/patients", a_patient())
    return Call(clients.user, "CreatePatient", {"patient": a_patient(email=created["email"].upper())})


def reuse_username(clients: Clients) -> Call:
    new = sign_up_user(clients)
    another = {"email": f"{uuid4()}@clinic.test", "username": new["username"], "password": PASSWORD}
    return Call(clients.user, "SignUp", another)


def reuse_record_number(clients: Clients) -> Call:
    number = str(uuid4())
    clients.user.post("/v1/patients", a_patient(medicalRecordNumber=number))
    return Call(clients.user, "CreatePatient", {"patient": a_patient(medicalRecordNumber=number)})


def send_stale_etag(clients: Clients) -> Call:
    created = clients.user.post("/v1/patients", a_patient())
    return Call(clients.user, "UpdatePatient", {"patient": {"id": created["id"], "phone": "112", "etag": "0"}})


def fail_too_many_logins(clients: Clients) -> Call:
    guess = {"email": f"{uuid4()}@clinic.test", "password": "something else"}
    for _ in range(10):
        assert clients.user.rest.post("/v1/auth/login", json=guess).status_code == 401
    return Call(clients.user, "Login", guess)


def send_no_resource(clients: Clients) -> Call:
    return Call(clients.user, "CreateFhirPatient", {"resource": {"data": base64.b64encode(b"{}").decode()}})


def send_resource_with_rules(clients: Clients) -> Call:
    data = base64.b64encode(b'{"resourceType":"Patient","implicitRules":"urn:x"}').decode()
    return Call(clients.user, "CreateFhirPatient", {"resource": {"data": data}})


def get_unknown_export(clients: Clients) -> Call:
    return Call(clients.admin, "GetFhirExport", {"exportId": str(uuid4())})


BOTH: list[tuple[str, Code, int, Callable[[Clients], Call]]] = [
    ("FIELDS_INVALID", Code.INVALID_ARGUMENT, 400, send_invalid_field),
    ("RESOURCE_MALFORMED", Code.INVALID_ARGUMENT, 400, send_no_resource),
    ("RESOURCE_UNPROCESSABLE", Code.INVALID_ARGUMENT, 422, send_resource_with_rules),
    ("PAGE_TOKEN_INVALID", Code.INVALID_ARGUMENT, 400, send_modified_page_token),
    ("REQUEST_ID_REUSED", Code.INVALID_ARGUMENT, 400, reuse_request_id),
    ("TOKEN_MISSING", Code.UNAUTHENTICATED, 401, omit_token),
    ("TOKEN_INVALID", Code.UNAUTHENTICATED, 401, forge_token),
    ("INVALID_CREDENTIALS", Code.UNAUTHENTICATED, 401, send_wrong_password),
    ("REFRESH_TOKEN_INVALID", Code.UNAUTHENTICATED, 401, forge_refresh_token),
    ("INVITATION_INVALID", Code.UNAUTHENTICATED, 401, forge_invitation),
    ("RESET_TOKEN_INVALID", Code.UNAUTHENTICATED, 401, forge_reset_token),
    ("VERIFICATION_TOKEN_INVALID", Code.UNAUTHENTICATED, 401, forge_verification_token),
    ("CHALLENGE_INVALID", Code.UNAUTHENTICATED, 401, forge_challenge),
    ("CODE_INVALID", Code.UNAUTHENTICATED, 401, send_wrong_code),
    ("ROLE_REQUIRED", Code.PERMISSION_DENIED, 403, call_without_role),
    ("USER_DISABLED", Code.PERMISSION_DENIED, 403, log_in_as_disabled_user),
    ("FHIR_EXPORT_NOT_FOUND", Code.NOT_FOUND, 404, get_unknown_export),
    ("PATIENT_NOT_FOUND", Code.NOT_FOUND, 404, get_unknown_patient),
    ("CARE_TEAM_MEMBER_NOT_FOUND", Code.NOT_FOUND, 404, remove_unknown_member),
    ("PATIENT_MERGED", Code.FAILED_PRECONDITION, 400, delete_merged_patient),
    ("SAME_PATIENT", Code.INVALID_ARGUMENT, 400, merge_patient_into_itself),
    ("RESTRICTIONS_DIFFER", Code.FAILED_PRECONDITION, 400, merge_restricted_patient),
    ("BREAK_GLASS_NOT_NEEDED", Code.FAILED_PRECONDITION, 400, break_glass_without_need),
    ("USER_NOT_FOUND", Code.NOT_FOUND, 404, update_unknown_user),
    ("CLIENT_NOT_FOUND", Code.NOT_FOUND, 404, revoke_unknown_client),
    ("CLIENT_INACTIVE", Code.FAILED_PRECONDITION, 400, rotate_revoked_client),
    ("SCOPE_INVALID", Code.INVALID_ARGUMENT, 400, request_scope_of_another_client),
    ("GRANT_TYPE_UNSUPPORTED", Code.INVALID_ARGUMENT, 400, request_token_with_a_password),
    ("INVITATION_NOT_FOUND", Code.NOT_FOUND, 404, revoke_unknown_invitation),
    ("SESSION_NOT_FOUND", Code.NOT_FOUND, 404, revoke_unknown_session),
    ("SECOND_FACTOR_NOT_FOUND", Code.NOT_FOUND, 404, remove_missing_second_factor),
    ("USER_INACTIVE", Code.FAILED_PRECONDITION, 400, reset_password_of_disabled_user),
    ("BILLING_ACCOUNT_NOT_FOUND", Code.NOT_FOUND, 404, get_unknown_account),
    ("DEAD_LETTER_NOT_FOUND", Code.NOT_FOUND, 404, replay_unknown_dead_letter),
    ("EMAIL_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, reuse_email),
    ("USERNAME_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, reuse_username),
    ("RECORD_NUMBER_ALREADY_EXISTS", Code.ALREADY_EXISTS, 409, reuse_record_number),
    ("ETAG_MISMATCH", Code.ABORTED, 409, send_stale_etag),
    ("RATE_LIMITED", Code.RESOURCE_EXHAUSTED, 429, fail_too_many_logins),
]


def create_client(clients: Clients) -> dict[str, Any]:
    """Creates a machine client and returns it with its secret."""
    created: dict[str, Any] = clients.admin.post("/v1/clients", {"displayName": "x", "scope": "patients.read"})
    return created


def sign_up_user(clients: Clients) -> dict[str, Any]:
    """Signs up a user and returns it."""
    name = uuid4().hex
    new = {"email": f"{name}@clinic.test", "username": name, "password": PASSWORD}
    user: dict[str, Any] = clients.user.post("/v1/auth/signup", new)
    return user
