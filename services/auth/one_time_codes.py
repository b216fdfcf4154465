"""The codes of second factors: one-time passwords (RFC 6238) and recovery codes."""

import base64
import hmac
import re
import secrets

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

_ISSUER = "PulseTrack"
_STEP_SECONDS = 30
_DIGITS = 6
_DRIFT = 1
"""The number of steps by which the clock of an authenticator app may be ahead or behind."""
_RECOVERY_CODES = 10
_RECOVERY_CODE_BYTES = 10


def create_secret() -> bytes:
    """Returns a random secret of 160 bits, the length that RFC 4226 recommends."""
    return secrets.token_bytes(20)


def encode_secret(secret: bytes) -> str:
    """Returns a secret in Base32, for users who type it."""
    return base64.b32encode(secret).decode()


def build_uri(secret: bytes, email: str) -> str:
    """Returns the URI that authenticator apps read from a QR code."""
    return _build_totp(secret).get_provisioning_uri(email, _ISSUER)


def find_step(secret: bytes, code: str, now: float) -> int | None:
    """Returns the time step of a one-time password, or None if it is not valid at the given time."""
    totp, current = _build_totp(secret), int(now // _STEP_SECONDS)
    steps = range(current - _DRIFT, current + _DRIFT + 1)
    return next((s for s in steps if hmac.compare_digest(totp.generate(s * _STEP_SECONDS), code.encode())), None)


def is_one_time_password(code: str) -> bool:
    """Returns whether a code has the form of a one-time password. Otherwise it is a recovery code."""
    return re.fullmatch(f"[0-9]{{{_DIGITS}}}", code) is not None


def normalize_code(code: str) -> str:
    """Returns a code without spaces and hyphens, in lower case."""
    return re.sub("[ -]", "", code).lower()


def create_recovery_codes() -> list[str]:
    """Returns random recovery codes of 80 bits, such as `k3fx-7qao-2mzb-w5ty`."""
    codes = [base64.b32encode(secrets.token_bytes(_RECOVERY_CODE_BYTES)).decode() for _ in range(_RECOVERY_CODES)]
    return ["-".join(re.findall("....", code.lower())) for code in codes]


def _build_totp(secret: bytes) -> TOTP:
    return TOTP(secret, _DIGITS, SHA1(), _STEP_SECONDS)  # noqa: S303 - authenticator apps support only SHA-1
