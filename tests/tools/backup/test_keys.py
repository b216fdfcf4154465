"""The keys of encrypted backups."""

import pytest
from pyrage.x25519 import Identity

from deploy.errors import StartError
from tools.backup.keys import parse_identity, parse_recipient


def test_keys_are_parsed_as_they_are_written() -> None:
    identity = Identity.generate()
    public = str(identity.to_public())
    assert str(parse_identity(f"# public key: {public}\n{identity}\n", "KEY").to_public()) == public
    assert str(parse_recipient(f" {public}\n", "RECIPIENT")) == public


@pytest.mark.parametrize("text", ["", "age1", "age1qqqq", "AGE-SECRET-KEY-1QQQQ", "ssh-ed25519 AAAA"])
def test_invalid_keys_are_rejected(text: str) -> None:
    with pytest.raises(StartError, match="RECIPIENT: This is not a public key"):
        parse_recipient(text, "RECIPIENT")
    with pytest.raises(StartError, match="KEY: This is not a private key"):
        parse_identity(text, "KEY")
