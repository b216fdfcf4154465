"""The texts of mails. Every subject is constant, so nothing that a user has entered is part of a header."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_UNEXPECTED = "If you did not do this, change your password and inform your administrator at once."


class Template(StrEnum):
    """The kinds of mails. The names are stored with the mails."""

    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - a name
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a name
    PASSWORD_RESET_CREATED = "PASSWORD_RESET_CREATED"  # noqa: S105 - a name
    SECOND_FACTOR_ADDED = "SECOND_FACTOR_ADDED"
    SECOND_FACTOR_REMOVED = "SECOND_FACTOR_REMOVED"
    SECOND_FACTOR_REMOVED_BY_ADMIN = "SECOND_FACTOR_REMOVED_BY_ADMIN"
    RECOVERY_CODE_USED = "RECOVERY_CODE_USED"
    EMAIL_VERIFICATION = "EMAIL_VERIFICATION"
    EMAIL_VERIFIED = "EMAIL_VERIFIED"
    INVITATION = "INVITATION"
    BREAK_GLASS_ACCESS = "BREAK_GLASS_ACCESS"


@dataclass(frozen=True)
class Text:
    """The subject and the body of a mail. The body has the parameters of the mail in braces, and {time}."""

    subject: str
    body: str
    validity: timedelta = timedelta(days=2)
    """The time after which the mail is not sent any more."""
    page: str = ""
    """The page of the web client that takes the token of the mail. {token} is replaced by its URL, or by the token.

    {form} says which of them it is.
    """


TEXTS: Mapping[Template, Text] = {
    Template.PASSWORD_CHANGED: Text(
        "Your password was changed",
        f"The password of your PulseTrack account was changed on {{time}}.\n\n{_UNEXPECTED}",
    ),
    Template.PASSWORD_RESET_CREATED: Text(
        "An administrator created a password reset",
        "On {time}, an administrator created a token that can set a new password for your PulseTrack account.\n\n"
        "If you did not ask for a new password, inform your administrator at once.",
    ),
    Template.PASSWORD_RESET: Text(
        "Reset your password",
        "A password reset was requested for your PulseTrack account. To set a new password, use this {form} within one "
        "hour. It works once:\n\n{token}\n\n"
        "If you did not request it, ignore this message. Your password has not changed.",
        validity=timedelta(hours=1),
        page="reset-password",
    ),
    Template.EMAIL_VERIFICATION: Text(
        "Verify your email address",
        "This email address was given for a PulseTrack account. To verify it, use this {form} within one day:\n\n"
        "{token}\n\nIf you have no account, ignore this message.",
        validity=timedelta(days=1),
        page="verify-email",
    ),
    Template.EMAIL_VERIFIED: Text(
        "Your email address was verified",
        "The email address of your PulseTrack account was verified on {time}.",
    ),
    Template.INVITATION: Text(
        "You are invited to PulseTrack",
        "An administrator invites you to PulseTrack. To create your account, use this {form} until {expire_time}. It "
        "works once:\n\n{token}\n\nIf you do not expect an invitation, ignore this message.",
        validity=timedelta(days=30),
        page="accept-invitation",
    ),
    Template.SECOND_FACTOR_ADDED: Text(
        "A second factor was added",
        f"A second factor was added to your PulseTrack account on {{time}}. Logins now require a code.\n\n"
        f"{_UNEXPECTED}",
    ),
    Template.SECOND_FACTOR_REMOVED: Text(
        "Your second factor was removed",
        f"The second factor of your PulseTrack account was removed on {{time}}. Logins require only the password.\n\n"
        f"{_UNEXPECTED}",
    ),
    Template.SECOND_FACTOR_REMOVED_BY_ADMIN: Text(
        "An administrator removed your second factor",
        "On {time}, an administrator removed the second factor of your PulseTrack account. Logins require only the "
        "password. All sessions of the account were ended.\n\n"
        "If you did not ask for this, inform your administrator at once.",
    ),
    Template.RECOVERY_CODE_USED: Text(
        "A recovery code was used",
        f"A recovery code of your PulseTrack account was used instead of a one-time password on {{time}}. It is not "
        f"valid any more.\n\n{_UNEXPECTED}",
    ),
    Template.BREAK_GLASS_ACCESS: Text(
        "Emergency access to a restricted record",
        "On {occur_time}, the user {actor} accessed the record of a restricted patient in an emergency. You belong to "
        "the patient's care team.\n\nID of the patient: {patient_id}\nID of the user: {actor_id}\n\n"
        "If the access was not justified, inform your administrator.",
    ),
}


def format_time(time: datetime) -> str:
    """Returns a time as mails state it."""
    return f"{time.astimezone(UTC):%Y-%m-%d at %H:%M} UTC"


def render_body(template: Template, parameters: Mapping[str, str], time: datetime, public_url: str) -> str:
    """Returns the body of a mail that was caused at a time."""
    text = TEXTS[template]
    values = {**parameters, "time": format_time(time), "form": "token"}
    if text.page and public_url:
        # Browsers do not send the fragment to servers.
        values |= {"token": f"{public_url}/{text.page}#token={values['token']}", "form": "link"}
    return text.body.format_map(values) + "\n"
