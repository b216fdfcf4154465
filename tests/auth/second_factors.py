"""Users with a second factor, and their one-time passwords."""

import base64
import hashlib
import hmac
import time
from functools import partial
from typing import Any

from gen.pulsetrack.auth.v1 import (
    ConfirmSecondFactorRequest,
    EnrollSecondFactorRequest,
    EnrollSecondFactorResponse,
    GetCurrentUserRequest,
    RemoveSecondFactorRequest,
    TokenPair,
    User,
    VerifySecondFactorRequest,
)
from tests.auth.factory import PASSWORD, build_login, build_sign_up
from tests.harness.client import Client, attempt
from tests.harness.sql import Sql

RFC_SECRET = b"12345678901234567890"
"""The secret of the test vectors in RFC 6238."""
STEP = 37037036
WRONG = "no-such-code"
TABLES = ("second_factors", "recovery_codes", "login_challenges")


def compute_code(secret: bytes, step: int) -> str:
    """Returns the one-time password of a time step, as RFC 6238 defines it."""
    digest = hmac.digest(secret, step.to_bytes(8), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


class Person:
    """A user who can set up a second factor."""

    def __init__(self, auth: Client, sql: Sql) -> None:
        self._auth, self._sql = auth, sql
        self.new = build_sign_up()
        self.id: str = auth.sign_up(self.new).id
        self.tokens: TokenPair = self.login()
        self.client = auth.with_token(self.tokens.access_token)
        self.secret = b""
        self.recovery_codes: list[str] = []

    def login(self, password: str = PASSWORD) -> TokenPair:
        tokens: TokenPair = self._auth.login(build_login(self.new, password=password))
        return tokens

    def enroll(self, password: str = PASSWORD) -> EnrollSecondFactorResponse:
        enrolled: EnrollSecondFactorResponse = self.client.enroll_second_factor(
            EnrollSecondFactorRequest(current_password=password)
        )
        self.secret = base64.b32decode(enrolled.secret)
        return enrolled

    def confirm(self, code: str = "") -> None:
        """Confirms the second factor, and makes the code of the current step valid again."""
        request = ConfirmSecondFactorRequest(code=code or self.code())
        self.recovery_codes = self.client.confirm_second_factor(request).recovery_codes
        self._sql("UPDATE second_factors SET last_step = 0 WHERE user_id = $1", self.id)

    def code(self) -> str:
        """Returns the code of the current step, which stays valid for the next one."""
        return compute_code(self.secret, int(time.time()) // 30)

    def verify(self, challenge: str, code: str = "") -> TokenPair:
        request = VerifySecondFactorRequest(challenge=challenge, code=code or self.code())
        tokens: TokenPair = self._auth.verify_second_factor(request)
        return tokens

    def remove(self, password: str = PASSWORD, code: str = "") -> Any:
        request = RemoveSecondFactorRequest(current_password=password, code=code or self.code())
        return self.client.remove_second_factor(request)

    def has_factor(self) -> bool:
        user: User = self.client.get_current_user(GetCurrentUserRequest())
        return user.second_factor

    def fail(self, challenge: str, count: int) -> list[str]:
        """Sends wrong codes and returns the reasons of the rejections."""
        return [attempt(partial(self.verify, challenge, WRONG)).reason for _ in range(count)]
