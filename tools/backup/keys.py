"""The keys of encrypted backups: X25519 keys in the format of age (https://c2sp.org/age)."""

from pyrage import IdentityError, RecipientError
from pyrage.x25519 import Identity, Recipient

from deploy.errors import StartError


def parse_recipient(text: str, name: str) -> Recipient:
    """Parses a public key, `age1...`. Raises StartError, whose message begins with the name."""
    try:
        return Recipient.from_str(text.strip())
    except RecipientError as error:
        raise StartError(f"{name}: This is not a public key that begins with age1: {error}.") from None


def parse_identity(text: str, name: str) -> Identity:
    """Parses a private key, `AGE-SECRET-KEY-1...`, in the first line of a key file that is not a comment.

    Raises StartError, whose message begins with the name.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        return Identity.from_str(lines[0] if lines else "")
    except IdentityError as error:
        raise StartError(f"{name}: This is not a private key that begins with AGE-SECRET-KEY-1: {error}.") from None
