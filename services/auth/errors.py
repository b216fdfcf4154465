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


class GrantTypeUnsupported(Failure):
    """Raised when a client requests a token with a grant other than client credentials."""

    code = Code.INVALID_ARGUMENT
    reason = "GRANT_TYPE_UNSUPPORTED"
    message = "The grant type is not supported. Use client_credentials."


class ScopeInvalid(Failure):
    """Raised when a client requests a scope that it does not have."""

    code = Code.INVALID_ARGUMENT
    reason = "SCOPE_INVALID"
    message = "The client does not have the requested scope."


class ClientNotFound(Failure):
    """Raised when the machine client does not exist."""

    code = Code.NOT_FOUND
    reason = "CLIENT_NOT_FOUND"
    message = "The client does not exist."


class ClientInactive(Failure):
    """Raised when an operation needs a client that is neither revoked nor expired."""

    code = Code.FAILED_PRECONDITION
    reason = "CLIENT_INACTIVE"
    message = "The client is revoked or expired. Create another one."


class SignUpClosed(Failure):
    """Raised by SignUp if only admins create users, and by invitations if the operator has disabled them."""

    code = Code.PERMISSION_DENIED
    reason = "SIGN_UP_CLOSED"
    message = "Sign-up is closed. Ask an administrator to invite you or to create a user for you."


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


class UserExternal(Failure):
    """Raised when a user of an external issuer calls a method of auth. No row of auth describes the user."""

    code = Code.PERMISSION_DENIED
    reason = "USER_EXTERNAL"
    message = "Your account is managed by the identity provider of your organization. Change it there."


class LastAdmin(Failure):
    """Raised when a change would leave no enabled admin to undo it."""

    code = Code.FAILED_PRECONDITION
    reason = "LAST_ADMIN"
    message = "The user is the last enabled admin. Give another user the role ADMIN first."


class UserInactive(Failure):
    """Raised when an operation needs an enabled user."""

    code = Code.FAILED_PRECONDITION
    reason = "USER_INACTIVE"
    message = "The user is disabled. Enable the user first."


class InvitationInvalid(Failure):
    """Raised for the token of an invitation that is unknown, expired, revoked or already accepted."""

    code = Code.UNAUTHENTICATED
    reason = "INVITATION_INVALID"
    message = "The invitation is not valid. Ask for a new one."


class InvitationNotFound(Failure):
    """Raised when the invitation does not exist."""

    code = Code.NOT_FOUND
    reason = "INVITATION_NOT_FOUND"
    message = "The invitation does not exist."


class InvitationAccepted(Failure):
    """Raised when an accepted invitation is revoked."""

    code = Code.FAILED_PRECONDITION
    reason = "INVITATION_ACCEPTED"
    message = "The invitation is already accepted. Disable its user instead."


class ResetTokenInvalid(Failure):
    """Raised for a reset token that is unknown, expired, replaced or already used, and if its user is disabled."""

    code = Code.UNAUTHENTICATED
    reason = "RESET_TOKEN_INVALID"
    message = "The token is not valid. Ask for a new one."


class VerificationTokenInvalid(Failure):
    """Raised for a verification token that is unknown, expired, replaced or already used, and for a disabled user."""

    code = Code.UNAUTHENTICATED
    reason = "VERIFICATION_TOKEN_INVALID"
    message = "The token is not valid. Request a new one."


class EmailNotVerified(Failure):
    """Raised for the right credentials of a user whose email address must be verified first."""

    code = Code.PERMISSION_DENIED
    reason = "EMAIL_NOT_VERIFIED"
    message = "The email address is not verified. Follow the instructions in the mail, or request another one."


class SessionNotFound(Failure):
    """Raised when the user has no active session with the id."""

    code = Code.NOT_FOUND
    reason = "SESSION_NOT_FOUND"
    message = "The session does not exist or has ended."


class ChallengeInvalid(Failure):
    """Raised for the challenge of a login that is unknown, expired, already used or invalidated."""

    code = Code.UNAUTHENTICATED
    reason = "CHALLENGE_INVALID"
    message = "The challenge is not valid. Log in again."


class CodeInvalid(Failure):
    """Raised for a one-time password or recovery code that is wrong or already used."""

    code = Code.UNAUTHENTICATED
    reason = "CODE_INVALID"
    message = "The code is not valid. Wait for the next one."


class SecondFactorAlreadyExists(Failure):
    """Raised when a user with a confirmed second factor enrolls another one."""

    code = Code.ALREADY_EXISTS
    reason = "SECOND_FACTOR_ALREADY_EXISTS"
    message = "The user already has a second factor. Remove it first."


class SecondFactorNotFound(Failure):
    """Raised when the user has no second factor."""

    code = Code.NOT_FOUND
    reason = "SECOND_FACTOR_NOT_FOUND"
    message = "The user has no second factor."
