"""Random tokens that the database stores as digests: refresh tokens, and those of invitations and password resets."""

import hashlib
import secrets


def create_token() -> str:
    """Returns a random token of 256 bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Returns the digest under which a token is stored. A random token needs no slow password hash."""
    return hashlib.sha256(token.encode()).digest()
