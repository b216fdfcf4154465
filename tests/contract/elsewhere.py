"""Lists contract rules that other tests cover, and the tests that cover them."""

ELSEWHERE = {
    "CALL_TOO_SLOW": "tests/envoy/test_errors.py::test_slow_call_times_out_in_grpc_and_rest",
    "DEPENDENCY_UNAVAILABLE": "tests/envoy/test_health.py::test_readiness_follows_service_failure_and_recovery",
    "TRANSACTION_CONFLICT": ("tests/patient/test_update_patient.py::test_concurrent_swap_of_two_emails_is_rejected"),
    "INTERNAL": "tests/common/test_errors.py::test_unexpected_exception_returns_internal_without_details",
    "SIGN_UP_CLOSED": "tests/e2e/test_sign_up_closed.py::test_closed_sign_up_is_rejected_everywhere",
    "EMAIL_NOT_VERIFIED": "tests/auth/test_verify_email.py::test_unverified_user_can_log_in_only_after_verification",
    "INVITATION_ACCEPTED": "tests/auth/test_invitations.py::test_accepted_invitation_cannot_be_revoked",
    "SECOND_FACTOR_ALREADY_EXISTS": "tests/auth/test_second_factor_setup.py::test_confirmed_factor_cannot_be_replaced",
    "SCOPE_REQUIRED": "tests/common/rpc/test_access.py::test_client_may_only_call_the_methods_of_its_scope",
    "USER_EXTERNAL": "tests/auth/test_external_issuer.py::test_external_user_cannot_call_methods_of_auth",
    "LAST_ADMIN": "tests/auth/test_update_user.py::test_last_enabled_admin_cannot_be_demoted_or_disabled",
    "DEAD_LETTER_UNREPLAYABLE": (
        "tests/analytics/test_replay_dead_letter.py::test_replay_of_an_invalid_message_is_rejected_with_a_reason"
    ),
    "CONTENT_TYPE_UNSUPPORTED": "tests/envoy/test_errors.py::test_unsupported_content_type_is_rejected",
    "HEADERS_TOO_LARGE": "tests/envoy/test_errors.py::test_headers_over_limits_are_rejected",
    "REQUEST_TOO_SLOW": "tests/security/test_slow.py::test_slow_request_body_times_out",
    "RESUME_TOKEN_INVALID": ("tests/e2e/test_watch_patients.py::test_rejected_watch_has_an_error_status_and_a_reason"),
    "SNAPSHOT_PRUNED": "tests/patient/test_export_patients.py::test_export_of_a_pruned_snapshot_fails",
    "READER_TOO_SLOW": ("tests/common/rpc/test_streams.py::test_stream_of_a_slow_reader_ends_with_reader_too_slow"),
}
"""Error reasons that a single request cannot cause."""

RULES = {
    "SignUp assigns the role USER and returns no password hash": (
        "tests/auth/test_sign_up.py::test_role_smuggled_into_the_request_is_ignored",
        "tests/auth/test_sign_up.py::test_response_does_not_contain_the_password",
    ),
    "a refresh token can be used once, and token reuse revokes the session": (
        "tests/auth/test_refresh_token.py::test_refresh_token_can_be_used_once",
        "tests/auth/test_refresh_token.py::test_token_reuse_revokes_the_session",
    ),
    "Logout ends the session": ("tests/auth/test_logout.py::test_logout_ends_the_session",),
    "every service rejects the tokens of an ended session": (
        "tests/auth/test_sessions.py::test_tokens_of_one_ended_session_are_rejected",
        "tests/e2e/test_accounts.py::test_every_service_rejects_the_tokens_of_an_ended_session",
    ),
    "a client obtains tokens with its secret, and none of a revoked client is accepted": (
        "tests/auth/test_clients.py::test_created_client_obtains_a_token_with_its_scopes",
        "tests/auth/test_client_secrets.py::test_revoked_client_and_its_tokens_are_rejected",
        "tests/e2e/test_token_endpoint.py::test_oauth_library_obtains_a_token",
    ),
    "a client may call only the methods of its scopes": (
        "tests/common/rpc/test_access.py::test_client_may_only_call_the_methods_of_its_scope",
        "tests/e2e/test_access.py::test_access_over_rest",
    ),
    "ChangePassword ends the other sessions": ("tests/auth/test_passwords.py::test_change_ends_the_other_sessions",),
    "requests for mail do not reveal whether a user has the address": (
        "tests/auth/test_request_password_reset.py::test_known_and_unknown_addresses_get_the_same_response",
        "tests/auth/test_verify_email.py::test_known_and_unknown_addresses_get_the_same_response",
    ),
    "a reset token is valid once, for an hour, until the password changes": (
        "tests/auth/test_passwords.py::test_reset_token_is_valid_for_an_hour",
        "tests/auth/test_passwords.py::test_invalid_reset_token_is_rejected",
    ),
    "an invitation is accepted once, and grants its email address and role": (
        "tests/auth/test_invitations.py::test_invited_person_becomes_a_user",
        "tests/auth/test_invitations.py::test_invalid_invitation_is_rejected",
    ),
    "a login with a second factor takes a challenge and a code, each valid once": (
        "tests/auth/test_second_factor.py::test_login_with_a_second_factor_requires_a_code",
        "tests/auth/test_second_factor.py::test_code_is_valid_once",
        "tests/auth/test_second_factor.py::test_recovery_code_is_valid_once",
        "tests/auth/test_second_factor.py::test_invalidated_challenge_is_rejected",
        "tests/e2e/test_accounts.py::test_second_factor_is_set_up_used_and_removed_over_rest",
    ),
    "wrong codes invalidate the challenge and count as failed logins": (
        "tests/auth/test_second_factor.py::test_five_wrong_codes_invalidate_the_challenge",
        "tests/auth/test_second_factor.py::test_ten_wrong_codes_block_logins_despite_the_right_password",
    ),
    "CreateUser and UpdateUser set the role and the disabled flag": (
        "tests/auth/test_create_user.py::test_new_user_has_the_requested_role",
        "tests/auth/test_update_user.py::test_mask_selects_the_fields_that_change",
    ),
    "a service exchanges its client credentials for a token": (
        "tests/auth/test_issue_service_token.py::test_valid_client_secret_returns_a_service_token",
    ),
    "the JWKS is JSON and public": (
        "tests/auth/test_get_jwks.py::test_response_is_a_json_web_key_set",
        "tests/envoy/test_routes.py::test_rest_call_without_token_is_accepted_only_if_public",
    ),
    "a wrong password and an unknown email get the same response": (
        "tests/auth/test_login.py::test_wrong_password_and_unknown_email_return_the_same_response",
    ),
    "patient fields are validated, and the registered date defaults to today": (
        "tests/patient/test_create_patient.py::test_invalid_field_is_reported_by_its_path",
        "tests/patient/test_create_patient.py::test_registered_date_defaults_to_today",
    ),
    "email (ignoring case) and record number are unique, including deleted patients": (
        "tests/patient/test_create_patient.py::test_email_is_unique_regardless_of_case",
        "tests/patient/test_create_patient.py::test_record_number_is_unique_unless_empty",
        "tests/patient/test_delete_patient.py::test_email_and_record_number_remain_reserved",
    ),
    "text is normalized to NFC, trimmed, free of control characters, and otherwise unchanged": (
        "tests/patient/test_text.py::test_text_is_stored_trimmed_and_in_nfc",
        "tests/patient/test_text.py::test_control_characters_are_rejected",
        "tests/patient/test_text.py::test_text_in_any_script_is_returned_unchanged",
    ),
    "a request ID, as requestId or Idempotency-Key, creates one patient": (
        "tests/e2e/test_request_id.py::test_request_id_is_the_same_in_query_header_and_message",
        "tests/e2e/test_at_once.py::test_eight_concurrent_creates_with_one_request_id_create_one_patient",
    ),
    "list pages default to 50 items, hold at most 1000, repeat none, and are newest first": (
        "tests/patient/test_list_patients.py::test_default_page_size_is_fifty",
        "tests/patient/test_list_patients.py::test_page_size_is_at_most_one_thousand",
        "tests/patient/test_list_patients.py::test_negative_page_size_is_rejected",
        "tests/patient/test_list_patients.py::test_pages_contain_each_patient_once",
        "tests/patient/test_list_patients.py::test_newest_patient_is_first",
    ),
    "a page token is bound to its query, and modified tokens are rejected": (
        "tests/patient/test_list_patients.py::test_altered_page_token_is_rejected",
        "tests/patient/test_list_patients.py::test_page_token_of_another_query_is_rejected",
    ),
    "a query matches part of a name, an email or a record number": (
        "tests/patient/test_search.py::test_query_finds_a_name_as_users_type_it",
        "tests/patient/test_search.py::test_query_finds_an_email_or_record_number",
    ),
    "order_by, filters and show_deleted": (
        "tests/patient/test_list_patients_in_order.py::test_pages_contain_each_patient_once_in_order",
        "tests/patient/test_list_patients_filters.py::test_filters_are_combined_with_and",
        "tests/patient/test_list_patients_filters.py::test_show_deleted_includes_deleted_patients",
        "tests/e2e/test_lists.py::test_list_orders_and_filters_over_rest",
    ),
    "an update without a mask changes the populated fields": (
        "tests/patient/test_update_patient.py::test_without_a_mask_fields_with_values_are_updated",
    ),
    "a request whose body and path have different IDs is rejected": (
        "tests/e2e/test_users.py::test_update_with_a_conflicting_id_is_rejected",
    ),
    "of concurrent updates with the same etag, one succeeds": (
        "tests/e2e/test_at_once.py::test_one_of_twelve_concurrent_updates_with_one_etag_succeeds",
    ),
    "ETag, If-Match and If-None-Match over REST": (
        "tests/e2e/test_conditional.py::test_every_response_with_a_patient_has_its_etag",
        "tests/e2e/test_conditional.py::test_current_etag_in_if_none_match_returns_304_until_the_patient_changes",
        "tests/e2e/test_conditional.py::test_change_with_if_match_requires_the_current_etag",
        "tests/e2e/test_conditional.py::test_star_requires_that_the_patient_exists",
        "tests/patient/test_conditions.py::test_other_etag_is_rejected_and_nothing_changes",
        "tests/envoy/test_conditions.py::test_malformed_condition_is_rejected",
    ),
    "a deletion is soft, returns the patient, and can be undone": (
        "tests/patient/test_delete_patient.py::test_response_is_the_deleted_patient",
        "tests/patient/test_delete_patient.py::test_deleted_record_is_retained",
        "tests/patient/test_undelete_patient.py::test_response_is_the_restored_patient",
    ),
    "revisions record the author, content and time of each change": (
        "tests/e2e/test_revisions.py::test_revisions_over_grpc_and_rest",
    ),
    "a watch streams changes and heartbeats, and resumes after its last token": (
        "tests/e2e/test_watch_patients.py::test_rest_watch_sends_each_change_as_a_json_line",
        "tests/e2e/test_watch_faults.py::test_resumed_watch_misses_no_change_when_a_process_is_killed",
        "tests/patient/test_watch_patients.py::test_heartbeats_carry_a_valid_resume_token",
    ),
    "an export contains all patients as they were at one moment, and resumes after its last token": (
        "tests/patient/test_export_patients.py::test_changes_during_an_export_have_no_effect",
        "tests/patient/test_export_patients.py::test_resumed_export_continues_the_snapshot",
    ),
    "the files of a bulk export contain all patients as they were when it started": (
        "tests/patient/test_fhir_exports.py::test_changes_after_the_start_have_no_effect",
        "tests/e2e/test_fhir_exports.py::test_export_contains_the_patients_as_they_were_at_the_start",
    ),
    "every read or write of a record creates an access event, even if it is rejected": (
        "tests/patient/test_list_access_events.py::test_call_records_one_event",
        "tests/patient/test_list_access_events.py::test_call_without_the_role_records_an_event",
        "tests/e2e/test_access_events.py::test_access_event_records_the_real_address_despite_spoofed_headers",
    ),
    "a patient has one account, which is closed on deletion and reopened on undeletion": (
        "tests/billing/test_create_billing_account.py::test_concurrent_creates_open_one_account",
        "tests/patient/test_delivery.py::test_deleting_a_patient_closes_the_account",
        "tests/patient/test_delivery.py::test_undeleting_a_patient_reopens_the_account",
    ),
    "events are listed by patient and type": (
        "tests/analytics/test_list_patient_events.py::test_events_can_be_filtered_by_patient_and_type",
    ),
    "statistics per bucket, totals, sexes and age bands": (
        "tests/analytics/test_get_patient_statistics.py::test_buckets_start_at_midnight_utc_on_days_mondays_and_firsts",
        "tests/analytics/test_get_patient_statistics.py::test_totals_reflect_the_current_state_of_patients",
        "tests/analytics/test_patient_totals.py::test_sexes_are_counted_from_the_newest_event_of_each_patient",
        "tests/analytics/test_patient_totals.py::test_patient_is_counted_in_the_band_of_their_age",
    ),
    "a dead letter keeps its bytes, and can be listed and replayed": (
        "tests/analytics/test_dead_letter_topic.py::test_dead_letter_retains_key_value_and_headers_and_adds_the_reason",
        "tests/analytics/test_list_dead_letters.py::test_dead_letter_is_listed_as_received",
        "tests/analytics/test_replay_dead_letter.py::test_replayed_event_is_stored_and_counted",
    ),
    "events are CloudEvents, delivered at least once, and stored once": (
        "tests/patient/test_delivery.py::test_events_are_published_as_cloudevents",
        "tests/analytics/test_event_store.py::test_duplicate_event_is_stored_once",
    ),
    "health and reflection need no token on any service or the gateway; reflection can be disabled": (
        "tests/common/rpc/test_server.py::test_health_reports_the_server_and_its_service",
        "tests/common/rpc/test_server.py::test_disabled_reflection_is_unimplemented",
        "tests/envoy/test_health.py::test_health_and_reflection_require_no_token",
    ),
    "/healthz and /readyz": (
        "tests/envoy/test_health.py::test_liveness_and_readiness_require_no_token",
        "tests/envoy/test_health.py::test_readiness_follows_service_failure_and_recovery",
    ),
    "a message is at most 4 MiB over gRPC and REST": (
        "tests/envoy/test_errors.py::test_grpc_message_limit_is_4_mib",
        "tests/common/test_errors.py::test_message_above_4_mib_is_rejected",
    ),
    "gRPC, gRPC-Web and REST return the same error": (
        "tests/e2e/test_parity.py::test_invalid_id_returns_the_same_error",
        "tests/envoy/test_errors.py::test_grpc_web_returns_same_results_as_grpc",
    ),
    "errors reveal no internals": (
        "tests/common/test_errors.py::test_unexpected_exception_returns_internal_without_details",
    ),
    "no acknowledged write is lost or duplicated when a process is killed": (
        "tests/e2e/test_faults.py::test_killed_process_loses_and_duplicates_no_acknowledged_patient",
    ),
}
"""The remaining rules of the contract."""
