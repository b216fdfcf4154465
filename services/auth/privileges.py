"""The privileges of the auth service on its tables."""

from services.common.postgres.privileges import APPEND_ONLY, READ_ONLY, READ_WRITE, Privileges

PRIVILEGES: Privileges = {
    "access_events": APPEND_ONLY,
    "access_groups": APPEND_ONLY,
    "access_seals": APPEND_ONLY,
    "client_secrets": READ_WRITE,
    "clients": READ_WRITE,
    "email_verifications": READ_WRITE,
    "failed_logins": READ_WRITE,
    "incarnations": READ_ONLY,
    "invitations": READ_WRITE,
    "login_challenges": READ_WRITE,
    "mail_requests": READ_WRITE,
    "mailed_invitations": READ_WRITE,
    "mails": READ_WRITE,
    "password_resets": READ_WRITE,
    "recovery_codes": READ_WRITE,
    "refresh_tokens": READ_WRITE,
    "second_factors": READ_WRITE,
    "sessions": READ_WRITE,
    "signing_keys": READ_WRITE,
    "users": READ_WRITE,
}
