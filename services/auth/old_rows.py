"""The rows of auth that are deleted some time after they have no more effect."""

from datetime import timedelta

from sqlalchemy import func, select

from services.auth.mail_sender import RETENTION
from services.auth.models import (
    email_verifications,
    invitations,
    login_challenges,
    mailed_invitations,
    mails,
    password_resets,
    refresh_tokens,
    sessions,
)
from services.auth.session_store import TOKEN_VALIDITY
from services.common.postgres.retention import OldRows

_HOUR, _MONTH = timedelta(hours=1), timedelta(days=30)

_expire_time_of_mailed_invitation = (
    select(invitations.c.expire_time).where(invitations.c.id == mailed_invitations.c.invitation_id).scalar_subquery()
)

OLD_ROWS = (
    # Until then, the access tokens of an ended session could still be valid.
    OldRows(sessions, func.least(sessions.c.expire_time, sessions.c.end_time), TOKEN_VALIDITY),
    OldRows(refresh_tokens, refresh_tokens.c.expire_time, _HOUR),
    OldRows(login_challenges, login_challenges.c.expire_time, _HOUR),
    OldRows(password_resets, password_resets.c.expire_time, _HOUR),
    OldRows(email_verifications, email_verifications.c.expire_time, _HOUR),
    # First, because their rows refer to those of invitations.
    OldRows(mailed_invitations, _expire_time_of_mailed_invitation, _HOUR),
    OldRows(invitations, invitations.c.expire_time, _MONTH),
    OldRows(mails, mails.c.end_time, RETENTION),
)
