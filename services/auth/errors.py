"""Errors that auth returns."""

from grpc import StatusCode as Code

from services.common.errors import Failure, RateLimited


class EmailAlreadyExists(Failure):
    """Raised when another user has the email address."""

    code = Code.ALREADY_EXISTS
    reason = "EMAIL_ALREADY_EXISTS"
    message = "A user with this email address already exists."


class UsernameAlreadyExists(Failure):
    """Raised when another user has the username or one that looks the same."""

    code = Code.ALREADY_EXISTS
    reason = "USERNAME_ALREADY_EXISTS"
    message = "A user with this username, or one that looks the same, already exists."


class InvalidCredentials(Failure):
    """Raised for an unknown email address or client id, and for a wrong password or secret, without distinction."""

    code = Code.UNAUTHENTICATED
    reason = "INVALID_CREDENTIALS"
    message = "The credentials are not valid."


class TooManyFailedLogins(RateLimited):
    """Raised after too many failed logins with an email address, whether or not a user has it."""

    message = "Too many logins with this email address have failed. Try again later."

    def __init__(self, *, retry_after: int) -> None:
        """Takes the number of seconds until the next login is allowed."""
        super().__init__()
        self.retry_after = retry_after


class SignUpClosed(Failure):
    """Raised by SignUp if only admins create users."""

    code = Code.PERMISSION_DENIED
    reason = "SIGN_UP_CLOSED"
    message = "Sign-up is closed. Ask an administrator to create a user for you."


class RefreshTokenInvalid(Failure):
    """Raised for a refresh token that is unknown, expired or already used, and when its session has ended."""

    code = Code.UNAUTHENTICATED
    reason = "REFRESH_TOKEN_INVALID"
    message = "The refresh token is not valid. Log in again."


class UserNotFound(Failure):
    """Raised when the user does not exist."""

    code = Code.NOT_FOUND
    reason = "USER_NOT_FOUND"
    message = "The user does not exist."


class LastAdmin(Failure):
    """Raised when a change would leave no enabled admin to undo it."""

    code = Code.FAILED_PRECONDITION
    reason = "LAST_ADMIN"
    message = "The user is the last enabled admin. Give another user the role ADMIN first."
