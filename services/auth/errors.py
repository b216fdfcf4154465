"""What auth refuses."""

from grpc import StatusCode as Code

from services.common.errors import Failure, RateLimited


class EmailAlreadyExists(Failure):
    """Occurs when another user has the email."""

    code = Code.ALREADY_EXISTS
    reason = "EMAIL_ALREADY_EXISTS"
    message = "A user with this email exists already."


class UsernameAlreadyExists(Failure):
    """Occurs when another user has the username."""

    code = Code.ALREADY_EXISTS
    reason = "USERNAME_ALREADY_EXISTS"
    message = "A user with this username exists already."


class InvalidCredentials(Failure):
    """Occurs when an email or client id is unknown, or its password or secret is wrong: the caller learns not which."""

    code = Code.UNAUTHENTICATED
    reason = "INVALID_CREDENTIALS"
    message = "The credentials are not valid."


class TooManyFailedLogins(RateLimited):
    """Occurs when too many log-ins with an email have failed of late, whether a user has it or not."""

    message = "Too many log-ins with this email have failed. Try again later."

    def __init__(self, *, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class SignUpClosed(Failure):
    """Raised when a visitor signs up where only an admin creates users."""

    code = Code.PERMISSION_DENIED
    reason = "SIGN_UP_CLOSED"
    message = "Sign-up is closed. Ask an administrator to create a user for you."


class RefreshTokenInvalid(Failure):
    """Occurs when a refresh token is unknown, expired, used before, or its session has ended."""

    code = Code.UNAUTHENTICATED
    reason = "REFRESH_TOKEN_INVALID"
    message = "The refresh token is not valid."


class UserNotFound(Failure):
    """Occurs when there is no such user."""

    code = Code.NOT_FOUND
    reason = "USER_NOT_FOUND"
    message = "There is no such user."


class LastAdmin(Failure):
    """Occurs when a change would leave no enabled admin, and so nobody who could undo it."""

    code = Code.FAILED_PRECONDITION
    reason = "LAST_ADMIN"
    message = "This user is the last enabled admin."
