"""The session of the command-line tool, in a file that only its owner can read."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pulsetrack.session import Tokens, TokenStore


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
