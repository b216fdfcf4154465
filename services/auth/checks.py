"""The violations that handlers of the auth service report. They complete those of an invalid request."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from gen.pulsetrack.auth.v1 import (
    AcceptInvitationRequest,
    ChangePasswordRequest,
    CreateInvitationRequest,
    CreateUserRequest,
    ResetPasswordRequest,
    SignUpRequest,
    UpdateUserRequest,
    User,
)
from services.auth.domain import find_change_violations
from services.auth.password_strength import PasswordRules
from services.auth.usernames import find_violation

MAX_INVITATION_VALIDITY = timedelta(days=30)
INVALID_EXPIRATION = f"must be within the next {MAX_INVITATION_VALIDITY.days} days"
EXPIRED = "must be in the future"
MAX_OVERLAP = timedelta(days=30)
INVALID_OVERLAP = f"must be at most {MAX_OVERLAP.days} days from now"

_MAX_LENGTH = 254
"""The number of characters of a text that are examined. Longer texts are invalid for their length."""


class UserChecks:
    """Finds violations without the database."""

    def __init__(self, rules: PasswordRules) -> None:
        self._rules = rules

    async def sign_up(self, request: SignUpRequest) -> Mapping[str, str]:
        """Returns the violations of a new user."""
        return await self.new_user(request.email, request.username, request.password)

    async def create_user(self, request: CreateUserRequest) -> Mapping[str, str]:
        """Returns the violations of a new user."""
        return await self.new_user(request.email, request.username, request.password)

    async def update_user(self, request: UpdateUserRequest) -> Mapping[str, str]:
        """Returns the violations of a change."""
        mask = request.update_mask.paths if request.update_mask else None
        return find_change_violations(request.user or User(), mask)

    async def create_invitation(self, request: CreateInvitationRequest) -> Mapping[str, str]:
        """Returns an expiration time in the past, or in the distant future, as a violation."""
        now = datetime.now(UTC)
        if request.expire_time is None or now < request.expire_time <= now + MAX_INVITATION_VALIDITY:
            return {}
        return {"expire_time": INVALID_EXPIRATION}

    async def accept_invitation(self, request: AcceptInvitationRequest) -> Mapping[str, str]:
        """Returns the violations of a new user whose email address is not known yet."""
        return await self.new_user("", request.username, request.password)

    async def change_password(self, request: ChangePasswordRequest) -> Mapping[str, str]:
        """Returns the violations of a password whose user is not known yet."""
        return await self._new_password(request.new_password)

    async def reset_password(self, request: ResetPasswordRequest) -> Mapping[str, str]:
        """Returns the violations of a password whose user is not known yet."""
        return await self._new_password(request.new_password)

    async def new_user(self, email: str, username: str, password: str) -> Mapping[str, str]:
        """Returns a deceptive username and a weak password as violations."""
        password, email, username = (text[:_MAX_LENGTH] for text in (password, email, username))
        violations = {
            "username": find_violation(username),
            "password": await self._rules.find_violation(password, email, username),
        }
        return {field: violation for field, violation in violations.items() if violation}

    async def _new_password(self, password: str) -> Mapping[str, str]:
        violation = await self._rules.find_violation(password[:_MAX_LENGTH])
        return {"new_password": violation} if violation else {}
