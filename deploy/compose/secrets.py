"""The secrets of a copy in containers: one file for each, made when it is missing, mounted where it is needed.

A container's account without rights must be able to read a file whoever owns it on the server. So the files may be read
by all, and their folder by its owner alone: nobody else on the server gets at them, and a container sees only its own.
"""

import json
import secrets
from pathlib import Path

from deploy.databases import Passwords, owner_url, service_url

SERVICES = ("auth", "patient", "billing", "analytics")

_POSTGRES = "postgres:5432"
"""Where the containers find the server."""


class Secrets:
    """A folder of secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def admin_password(self) -> Path:
        """The file of the first admin's password."""
        return self.folder / "admin-password"

    def are_new(self) -> bool:
        """Tells whether this copy has no secrets yet."""
        return not (self.folder / "postgres-password").exists()

    def complete(self, admin_password: str | None = None) -> None:
        """Makes what is missing, with random values but for a given admin's password, and what follows from it.

        Raises OSError.
        """
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        self._keep("key-passphrase")
        self._keep("admin-password", admin_password)
        self._write("client-secrets", json.dumps({"patient": self._keep("patient-client-secret")}))
        server = f"postgresql://postgres:{self._keep('postgres-password')}@{_POSTGRES}/postgres"
        self._write("postgres-url", server)
        for service in SERVICES:
            names = (f"{service}-database-password", f"{service}-owner-database-password")
            passwords = Passwords(*map(self._keep, names))
            self._write(f"{service}-database-url", service_url(server, service, passwords))
            self._write(f"{service}-owner-database-url", owner_url(server, service, passwords))

    def _keep(self, name: str, value: str | None = None) -> str:
        """Returns the secret that there is, or else a new one of this value or a random one."""
        path = self.folder / name
        if not path.exists():
            self._write(name, value or secrets.token_urlsafe(24))
        return path.read_text(encoding="utf-8")

    def _write(self, name: str, value: str) -> None:
        """Writes a secret, so that a reader sees the old one or the new one whole."""
        new = self.folder / f"{name}.new"
        new.write_text(value, encoding="utf-8")
        new.chmod(0o444)
        new.replace(self.folder / name)
