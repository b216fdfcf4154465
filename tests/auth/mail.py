"""Users with a mailbox, and the tokens that they receive."""

import re
from email.message import EmailMessage

from gen.google.protobuf import FieldMask
from gen.pulsetrack.auth.v1 import (
    RequestEmailVerificationRequest,
    RequestPasswordResetRequest,
    UpdateUserRequest,
    User,
)
from tests.auth.factory import PASSWORD, build_login, build_sign_up
from tests.harness.client import Client, Rejected, attempt
from tests.harness.mail import Mailbox
from tests.harness.sql import Sql
from tests.harness.waiting import eventually

VERIFICATION, RESET = "Verify your email address", "Reset your password"


def read_token(message: EmailMessage) -> str:
    """Returns the token of a message, which is on a line of its own or the fragment of a link."""
    [token] = re.findall(r"(?:^|#token=)([\w-]{43})$", message.get_content(), re.MULTILINE)
    return str(token)


class Correspondent:
    """A signed-up user with a mailbox."""

    def __init__(self, auth: Client, mailbox: Mailbox, sql: Sql) -> None:
        self._auth, self._mailbox, self._sql = auth, mailbox, sql
        self.new = build_sign_up()
        self.id: str = auth.sign_up(self.new).id

    def receive(self, subject: str, count: int = 1) -> list[EmailMessage]:
        """Returns the messages with a subject once there are so many."""

        def find() -> list[EmailMessage]:
            found = [each for each in self._mailbox.find(self.new.email) if each["Subject"] == subject]
            return found if len(found) >= count else []

        return eventually(find)

    def count(self, subject: str) -> int:
        """Returns how many messages with a subject were received once all requests are processed."""
        waiting = "SELECT FROM mail_requests UNION ALL SELECT FROM mails WHERE end_time IS NULL"
        eventually(lambda: not self._sql(waiting))
        return sum(each["Subject"] == subject for each in self._mailbox.find(self.new.email))

    def request_reset(self) -> None:
        self._auth.request_password_reset(RequestPasswordResetRequest(email=self.new.email))

    def receive_reset(self) -> str:
        """Requests a reset and returns the mailed token."""
        before = self.count(RESET)
        self.request_reset()
        return read_token(self.receive(RESET, before + 1)[-1])

    def request_verification(self) -> None:
        self._auth.request_email_verification(RequestEmailVerificationRequest(email=self.new.email))

    def log_in(self, password: str = PASSWORD) -> str:
        """Returns "OK", or the reason why the login was rejected."""
        session = attempt(lambda: self._auth.login(build_login(self.new, password=password)))
        return session.reason if isinstance(session, Rejected) else "OK"


def set_disabled(admin: Client, user_id: str, *, disabled: bool = True) -> None:
    """Disables or enables a user."""
    admin.update_user(UpdateUserRequest(User(id=user_id, disabled=disabled), FieldMask(["disabled"])))
