"""The violations that handlers of the auth service report. They complete those of an invalid request."""

from collections.abc import Mapping

from gen.pulsetrack.auth.v1 import CreateUserRequest, SignUpRequest, UpdateUserRequest, User
from services.auth.domain import find_change_violations
from services.auth.password_strength import PasswordRules
from services.auth.usernames import find_violation

_MAX_LENGTH = 254
"""The number of characters of a text that are examined. Longer texts are invalid for their length."""


class UserChecks:
    """Finds violations without the database."""

    def __init__(self, rules: PasswordRules) -> None:
        self._rules = rules

    async def sign_up(self, request: SignUpRequest) -> Mapping[str, str]:
        """Returns the violations of a new user."""
        return await self.new_user(request)

    async def create_user(self, request: CreateUserRequest) -> Mapping[str, str]:
        """Returns the violations of a new user."""
        return await self.new_user(request)

    async def update_user(self, request: UpdateUserRequest) -> Mapping[str, str]:
        """Returns the violations of a change."""
        mask = request.update_mask.paths if request.update_mask else None
        return find_change_violations(request.user or User(), mask)

    async def new_user(self, request: SignUpRequest | CreateUserRequest) -> Mapping[str, str]:
        """Returns a deceptive username and a weak password as violations."""
        texts = (request.password, request.email, request.username)
        password, email, username = (text[:_MAX_LENGTH] for text in texts)
        violations = {
            "username": find_violation(username),
            "password": await self._rules.find_violation(password, email, username),
        }
        return {field: violation for field, violation in violations.items() if violation}
