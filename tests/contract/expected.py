"""The public contract, stated separately from the protos to detect unintended changes."""

from typing import NamedTuple

PUBLIC, USERS, ADMIN, SERVICES = "public", "users", "admin", "services"
CREDENTIALS, INTERNAL = "client credentials", "internal"


class Row(NamedTuple):
    """A method, its permitted callers, and its REST verb and path if it has a REST binding."""

    service: str
    name: str
    access: str
    verb: str = ""
    path: str = ""
    streams: bool = False
    scope: str = ""


METHODS = (
    Row("auth", "SignUp", PUBLIC, "POST", "/v1/auth/signup"),
    Row("auth", "Login", PUBLIC, "POST", "/v1/auth/login"),
    Row("auth", "VerifySecondFactor", PUBLIC, "POST", "/v1/auth/login:verify"),
    Row("auth", "RefreshToken", PUBLIC, "POST", "/v1/auth/refresh"),
    Row("auth", "Logout", PUBLIC, "POST", "/v1/auth/logout"),
    Row("auth", "GetCurrentUser", USERS, "GET", "/v1/auth/me"),
    Row("auth", "CreateUser", ADMIN, "POST", "/v1/users"),
    Row("auth", "ListUsers", ADMIN, "GET", "/v1/users"),
    Row("auth", "UpdateUser", ADMIN, "PATCH", "/v1/users/{user.id}"),
    Row("auth", "SearchUserAccessEvents", ADMIN, "GET", "/v1/auth/access-events"),
    Row("auth", "ListSecurityEvents", ADMIN, "GET", "/v1/auth/security-events"),
    Row("auth", "CreateInvitation", ADMIN, "POST", "/v1/invitations"),
    Row("auth", "ListInvitations", ADMIN, "GET", "/v1/invitations"),
    Row("auth", "RevokeInvitation", ADMIN, "POST", "/v1/invitations/{id}:revoke"),
    Row("auth", "AcceptInvitation", PUBLIC, "POST", "/v1/auth/invitations:accept"),
    Row("auth", "ChangePassword", USERS, "POST", "/v1/auth/me:changePassword"),
    Row("auth", "CreatePasswordReset", ADMIN, "POST", "/v1/users/{user_id}:createPasswordReset"),
    Row("auth", "RequestPasswordReset", PUBLIC, "POST", "/v1/auth/password:requestReset"),
    Row("auth", "RequestEmailVerification", PUBLIC, "POST", "/v1/auth/email:requestVerification"),
    Row("auth", "VerifyEmail", PUBLIC, "POST", "/v1/auth/email:verify"),
    Row("auth", "ResetPassword", PUBLIC, "POST", "/v1/auth/password:reset"),
    Row("auth", "EnrollSecondFactor", USERS, "POST", "/v1/auth/me/secondFactor:enroll"),
    Row("auth", "ConfirmSecondFactor", USERS, "POST", "/v1/auth/me/secondFactor:confirm"),
    Row("auth", "RemoveSecondFactor", USERS, "POST", "/v1/auth/me/secondFactor:remove"),
    Row("auth", "RemoveUserSecondFactor", ADMIN, "POST", "/v1/users/{user_id}/secondFactor:remove"),
    Row("auth", "ListSessions", USERS, "GET", "/v1/auth/me/sessions"),
    Row("auth", "RevokeSessions", USERS, "POST", "/v1/auth/me/sessions:revoke"),
    Row("auth", "ListUserSessions", ADMIN, "GET", "/v1/users/{user_id}/sessions"),
    Row("auth", "RevokeUserSessions", ADMIN, "POST", "/v1/users/{user_id}/sessions:revoke"),
    Row("auth", "CreateClient", ADMIN, "POST", "/v1/clients"),
    Row("auth", "GetClient", ADMIN, "GET", "/v1/clients/{id}"),
    Row("auth", "ListClients", ADMIN, "GET", "/v1/clients"),
    Row("auth", "RotateClientSecret", ADMIN, "POST", "/v1/clients/{id}:rotateSecret"),
    Row("auth", "RevokeClient", ADMIN, "POST", "/v1/clients/{id}:revoke"),
    Row("auth", "IssueClientToken", PUBLIC, "POST", "/v1/auth/token"),
    Row("auth", "IssueServiceToken", CREDENTIALS),
    Row("auth", "GetJwks", PUBLIC, "GET", "/.well-known/jwks.json"),
    Row("auth", "NotifyUsers", SERVICES),
    Row("auth", "GetExternalJwks", PUBLIC, "GET", "/.well-known/external-jwks.json"),
    Row("auth", "GetTrustBundle", INTERNAL),
    Row("patient", "CreatePatient", USERS, "POST", "/v1/patients", scope="patients.write"),
    Row("patient", "GetPatient", USERS, "GET", "/v1/patients/{id}", scope="patients.read"),
    Row("patient", "BatchGetPatients", USERS, "GET", "/v1/patients:batchGet", scope="patients.read"),
    Row("patient", "ListPatients", USERS, "GET", "/v1/patients", scope="patients.read"),
    Row("patient", "UpdatePatient", USERS, "PATCH", "/v1/patients/{patient.id}", scope="patients.write"),
    Row("patient", "DeletePatient", ADMIN, "DELETE", "/v1/patients/{id}"),
    Row("patient", "UndeletePatient", ADMIN, "POST", "/v1/patients/{id}:undelete"),
    Row("patient", "ErasePatient", ADMIN, "POST", "/v1/patients/{id}:erase"),
    Row("patient", "ListErasures", ADMIN, "GET", "/v1/erasures"),
    Row("patient", "ListPatientRevisions", USERS, "GET", "/v1/patients/{id}/revisions", scope="patients.read"),
    Row("patient", "WatchPatients", USERS, "GET", "/v1/patients:watch", streams=True, scope="patients.read"),
    Row("patient", "ListAccessEvents", ADMIN, "GET", "/v1/patients/{id}/access-events"),
    Row("patient", "SearchPatientAccessEvents", ADMIN, "GET", "/v1/access-events"),
    Row("patient", "AddCareTeamMember", ADMIN, "POST", "/v1/patients/{id}/care-team-members"),
    Row("patient", "RemoveCareTeamMember", ADMIN, "DELETE", "/v1/patients/{id}/care-team-members/{user_id}"),
    Row("patient", "ListCareTeamMembers", USERS, "GET", "/v1/patients/{id}/care-team-members"),
    Row("patient", "BreakGlass", USERS, "POST", "/v1/patients/{id}:breakGlass"),
    Row("patient", "GetPatientAccess", USERS, "GET", "/v1/patients:access"),
    Row("patient", "FindDuplicates", USERS, "GET", "/v1/patients/{id}:findDuplicates", scope="patients.read"),
    Row("patient", "MergePatients", ADMIN, "POST", "/v1/patients/{id}:merge"),
    Row("patient", "UnmergePatients", ADMIN, "POST", "/v1/patients/{id}:unmerge"),
    Row("patient", "ImportPatients", ADMIN, scope="patients.write"),
    Row("patient", "ImportPatientRecords", ADMIN, "POST", "/v1/patients:import", scope="patients.write"),
    Row("patient", "ExportPatients", ADMIN, "GET", "/v1/patients:export", streams=True, scope="patients.read"),
    Row("patient", "ExportPatientData", ADMIN, "GET", "/v1/patients/{id}:exportData", streams=True),
    Row("patient", "GetFhirPatient", USERS, "GET", "/fhir/R4/Patient/{id}", scope="patients.read"),
    Row("patient", "FindFhirPatients", USERS, "GET", "/fhir/R4/Patient", scope="patients.read"),
    Row("patient", "GetFhirCapabilities", PUBLIC, "GET", "/fhir/R4/metadata"),
    Row("patient", "CreateFhirPatient", USERS, "POST", "/fhir/R4/Patient", scope="patients.write"),
    Row("patient", "UpdateFhirPatient", USERS, "PUT", "/fhir/R4/Patient/{id}", scope="patients.write"),
    Row("patient", "DeleteFhirPatient", ADMIN, "DELETE", "/fhir/R4/Patient/{id}"),
    Row("patient", "GetFhirPatientHistory", USERS, "GET", "/fhir/R4/Patient/{id}/_history", scope="patients.read"),
    Row(
        "patient",
        "GetFhirPatientVersion",
        USERS,
        "GET",
        "/fhir/R4/Patient/{id}/_history/{version}",
        scope="patients.read",
    ),
    Row("patient", "StartFhirExport", ADMIN, "GET", "/fhir/R4/Patient/$export", scope="patients.read"),
    Row("patient", "GetFhirExport", ADMIN, "GET", "/fhir/R4/exports/{export_id}", scope="patients.read"),
    Row("patient", "DeleteFhirExport", ADMIN, "DELETE", "/fhir/R4/exports/{export_id}", scope="patients.read"),
    Row(
        "patient",
        "DownloadFhirExport",
        ADMIN,
        "GET",
        "/fhir/R4/exports/{export_id}/{file}",
        streams=True,
        scope="patients.read",
    ),
    Row("billing", "CreateBillingAccount", SERVICES),
    Row("billing", "FollowPatient", SERVICES),
    Row("billing", "BatchFollowPatients", SERVICES),
    Row("billing", "GetBillingAccount", USERS, "GET", "/v1/billing/accounts/{id}", scope="billing.read"),
    Row("billing", "ListBillingAccounts", USERS, "GET", "/v1/billing/accounts", scope="billing.read"),
    Row("billing", "CloseBillingAccount", ADMIN, "POST", "/v1/billing/accounts/{id}:close", scope="billing.write"),
    Row("billing", "SearchBillingAccessEvents", ADMIN, "GET", "/v1/billing/access-events"),
    Row("analytics", "ListPatientEvents", USERS, "GET", "/v1/analytics/events", scope="statistics.read"),
    Row("analytics", "GetPatientStatistics", USERS, "GET", "/v1/analytics/statistics", scope="statistics.read"),
    Row("analytics", "ListDeadLetters", ADMIN, "GET", "/v1/analytics/dead-letters"),
    Row("analytics", "ReplayDeadLetter", ADMIN, "POST", "/v1/analytics/dead-letters/{id}:replay"),
    Row("analytics", "SearchAnalyticsAccessEvents", ADMIN, "GET", "/v1/analytics/access-events"),
)

LISTS = {
    "ListUsers": ("users", "auth.v1.User"),
    "ListInvitations": ("invitations", "auth.v1.Invitation"),
    "ListClients": ("clients", "auth.v1.Client"),
    "ListSessions": ("sessions", "auth.v1.Session"),
    "ListUserSessions": ("sessions", "auth.v1.Session"),
    "ListPatients": ("patients", "patient.v1.Patient"),
    "ListPatientRevisions": ("revisions", "patient.v1.Revision"),
    "ListAccessEvents": ("access_events", "patient.v1.AccessEvent"),
    "ListCareTeamMembers": ("care_team_members", "patient.v1.CareTeamMember"),
    "ListErasures": ("erasures", "patient.v1.Erasure"),
    "ListBillingAccounts": ("billing_accounts", "billing.v1.BillingAccount"),
    "ListPatientEvents": ("events", "analytics.v1.AnalyticsEvent"),
    "ListDeadLetters": ("dead_letters", "analytics.v1.DeadLetter"),
    "ListSecurityEvents": ("security_events", "auth.v1.SecurityEvent"),
    "SearchUserAccessEvents": ("access_events", "audit.v1.ServiceAccessEvent"),
    "SearchPatientAccessEvents": ("access_events", "audit.v1.ServiceAccessEvent"),
    "SearchBillingAccessEvents": ("access_events", "audit.v1.ServiceAccessEvent"),
    "SearchAnalyticsAccessEvents": ("access_events", "audit.v1.ServiceAccessEvent"),
}
"""The repeated field of each list response, and the type of its elements."""

FIELDS = {
    "auth.v1.User": "id email username role disabled create_time second_factor email_verified",
    "auth.v1.Invitation": "id email role creator_id create_time expire_time state user_id",
    "auth.v1.Session": "id create_time last_use_time expire_time remote_address user_agent current",
    "auth.v1.SecurityEvent": "id type subject_id actor_id outcome method occur_time remote_address user_agent"
    " request_id",
    "auth.v1.ListSecurityEventsRequest": "type subject_id start_time end_time page_size page_token",
    "auth.v1.Client": "id display_name scope creator_id create_time expire_time last_use_time state",
    "auth.v1.CreateClientResponse": "client client_secret",
    "auth.v1.RotateClientSecretResponse": "client_secret previous_secret_expire_time",
    "auth.v1.ClientToken": "access_token token_type expires_in scope",
    "auth.v1.TokenPair": "access_token refresh_token token_type expires_in challenge",
    "auth.v1.EnrollSecondFactorResponse": "secret uri",
    "auth.v1.ConfirmSecondFactorResponse": "recovery_codes",
    "auth.v1.NotifyUsersRequest": "request_id user_ids break_glass_access",
    "auth.v1.BreakGlassAccess": "patient_id actor_id occur_time",
    "patient.v1.Patient": "id name email address date_of_birth registered_date phone sex medical_record_number"
    " create_time update_time delete_time etag restricted merged_into",
    "patient.v1.CareTeamMember": "patient_id user_id create_time",
    "patient.v1.BreakGlassRequest": "id reason",
    "patient.v1.BreakGlassResponse": "expire_time",
    "patient.v1.ErasePatientRequest": "id reason",
    "patient.v1.ErasePatientResponse": "erase_time",
    "patient.v1.ListErasuresRequest": "state page_size page_token",
    "patient.v1.Erasure": "patient_id reason actor_id create_time erase_time execute_time",
    "patient.v1.PatientAccess": "all_patients patient_ids",
    "patient.v1.CreatePatientRequest": "patient request_id",
    "patient.v1.ListPatientsRequest": "page_size page_token query order_by show_deleted",
    "patient.v1.UpdatePatientRequest": "patient update_mask",
    "patient.v1.DeletePatientRequest": "id etag",
    "patient.v1.MergePatientsRequest": "id merged_id etag merged_etag",
    "patient.v1.Revision": "revision patient actor_id occur_time type",
    "patient.v1.WatchPatientsRequest": "resume_token",
    "patient.v1.WatchPatientsResponse": "revision resume_token",
    "patient.v1.ExportPatientsRequest": "resume_token show_deleted sex born_after born_before registered_after"
    " registered_before",
    "patient.v1.ExportPatientsResponse": "patients resume_token",
    "patient.v1.ExportPatientDataRequest": "id",
    "patient.v1.StartFhirExportRequest": "parameters lenient",
    "patient.v1.GetFhirExportRequest": "export_id",
    "patient.v1.DeleteFhirExportRequest": "export_id",
    "patient.v1.DownloadFhirExportRequest": "export_id file",
    "patient.v1.AccessEvent": "id patient_id actor_id method outcome occur_time request_id remote_address query",
    "patient.v1.PatientEvent": "event_id sequence actor_id occur_time created updated deleted undeleted"
    " merged unmerged erased",
    "audit.v1.ServiceAccessEvent": "id subject_ids subject_count actor_id method outcome occur_time request_id"
    " remote_address query",
    "audit.v1.SearchAccessEventsRequest": "actor_id subject_id page_size page_token",
    "billing.v1.BillingAccount": "id patient_id name email status create_time",
    "billing.v1.ListBillingAccountsRequest": "patient_id page_size page_token",
    "analytics.v1.AnalyticsEvent": "event_id patient_id type sequence actor_id occur_time receive_time",
    "analytics.v1.ListPatientEventsRequest": "patient_id type page_size page_token",
    "analytics.v1.GetPatientStatisticsRequest": "start end bucket",
    "analytics.v1.PatientStatistics": "buckets total_patients total_deleted sexes age_bands as_of_time",
    "analytics.v1.StatisticsBucket": "start_time registrations updates deletions",
    "analytics.v1.SexCount": "sex count",
    "analytics.v1.AgeBand": "from_age to_age count",
    "analytics.v1.DeadLetter": "id topic partition offset event_id reason attempts receive_time replay_time",
}
"""Fields that each message must have."""

ENUMS = {
    "options.v1.Role": "ROLE_UNSPECIFIED ROLE_USER ROLE_ADMIN",
    "auth.v1.InvitationState": "INVITATION_STATE_UNSPECIFIED INVITATION_STATE_PENDING INVITATION_STATE_ACCEPTED"
    " INVITATION_STATE_REVOKED INVITATION_STATE_EXPIRED",
    "auth.v1.SecurityEventType": "SECURITY_EVENT_TYPE_UNSPECIFIED SECURITY_EVENT_TYPE_LOGIN_SUCCEEDED"
    " SECURITY_EVENT_TYPE_LOGIN_FAILED SECURITY_EVENT_TYPE_LOGIN_CHALLENGED"
    " SECURITY_EVENT_TYPE_REAUTHENTICATION_FAILED SECURITY_EVENT_TYPE_LOGGED_OUT SECURITY_EVENT_TYPE_SESSIONS_REVOKED"
    " SECURITY_EVENT_TYPE_REFRESH_TOKEN_REUSED SECURITY_EVENT_TYPE_USER_CREATED SECURITY_EVENT_TYPE_USER_ROLE_CHANGED"
    " SECURITY_EVENT_TYPE_USER_DISABLED SECURITY_EVENT_TYPE_USER_ENABLED SECURITY_EVENT_TYPE_PASSWORD_CHANGED"
    " SECURITY_EVENT_TYPE_PASSWORD_RESET_CREATED SECURITY_EVENT_TYPE_PASSWORD_RESET"
    " SECURITY_EVENT_TYPE_SECOND_FACTOR_ADDED SECURITY_EVENT_TYPE_SECOND_FACTOR_REMOVED"
    " SECURITY_EVENT_TYPE_INVITATION_CREATED SECURITY_EVENT_TYPE_INVITATION_ACCEPTED"
    " SECURITY_EVENT_TYPE_INVITATION_REVOKED SECURITY_EVENT_TYPE_SIGNING_KEYS_ROTATED"
    " SECURITY_EVENT_TYPE_SIGNING_KEYS_REVOKED SECURITY_EVENT_TYPE_CLIENT_CREATED"
    " SECURITY_EVENT_TYPE_CLIENT_SECRET_ROTATED SECURITY_EVENT_TYPE_CLIENT_REVOKED"
    " SECURITY_EVENT_TYPE_CLIENT_TOKEN_REFUSED SECURITY_EVENT_TYPE_PASSWORD_RESET_REQUESTED"
    " SECURITY_EVENT_TYPE_EMAIL_VERIFIED",
    "auth.v1.ClientState": "CLIENT_STATE_UNSPECIFIED CLIENT_STATE_ACTIVE CLIENT_STATE_REVOKED CLIENT_STATE_EXPIRED",
    "patient.v1.Sex": "SEX_UNSPECIFIED SEX_FEMALE SEX_MALE SEX_OTHER",
    "patient.v1.ErasureState": "ERASURE_STATE_UNSPECIFIED ERASURE_STATE_PENDING ERASURE_STATE_EXECUTED",
    "billing.v1.AccountStatus": "ACCOUNT_STATUS_UNSPECIFIED ACCOUNT_STATUS_ACTIVE ACCOUNT_STATUS_CLOSED",
    "analytics.v1.Bucket": "BUCKET_UNSPECIFIED BUCKET_DAY BUCKET_WEEK BUCKET_MONTH",
    "analytics.v1.PatientEventType": "PATIENT_EVENT_TYPE_UNSPECIFIED PATIENT_EVENT_TYPE_CREATED"
    " PATIENT_EVENT_TYPE_UPDATED PATIENT_EVENT_TYPE_DELETED PATIENT_EVENT_TYPE_UNDELETED",
}
"""Values that each enum must have."""
