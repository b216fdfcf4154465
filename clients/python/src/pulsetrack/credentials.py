"""The session of the command-line tool, in a file that only its owner can read, and its connection."""

import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path

from pulsetrack.client import Client, connect
from pulsetrack.session import Tokens, TokenStore

DEFAULT_URL = "http://127.0.0.1:8080"


def default_path() -> Path:
    """Returns the path of the file: in `XDG_CONFIG_HOME`, or in `~/.config`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "pulsetrack", "credentials.json")


class CredentialsFile(TokenStore):
    """Keeps the tokens and the URL of a session in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def url(self) -> str:
        """The URL of the gateway. Empty before the first login."""
        return str(self._read().get("url", ""))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Excludes other processes."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def load(self) -> Tokens | None:
        """Returns the tokens, or None before the first login."""
        tokens = self._read().get("tokens")
        return Tokens(**tokens) if isinstance(tokens, dict) else None

    def save(self, tokens: Tokens) -> None:
        """Replaces the tokens."""
        self._write({"url": self.url, "tokens": asdict(tokens)})

    def begin(self, url: str, tokens: Tokens) -> None:
        """Replaces the session by that of a new login."""
        with self.lock():
            self._write({"url": url, "tokens": asdict(tokens)})

    def delete(self) -> None:
        """Deletes the file."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, object]:
        try:
            content: dict[str, object] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return content

    def _write(self, content: dict[str, object]) -> None:
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600, exist_ok=False)
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(self._path)


@asynccontextmanager
async def connect_stored() -> AsyncIterator[Client]:
    """Yields a client with the stored session, or of the machine client in the environment."""
    store = CredentialsFile(default_path())
    if client_id := os.environ.get("PULSETRACK_CLIENT_ID"):
        secret = os.environ.get("PULSETRACK_CLIENT_SECRET", "")
        url = os.environ.get("PULSETRACK_URL", DEFAULT_URL)
        async with connect(url, client_id=client_id, client_secret=secret) as client:
            yield client
        return
    if not store.url:
        sys.exit("Run `pulsetrack login` first.")
    async with connect(store.url, store=store) as client:
        yield client
