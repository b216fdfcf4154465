"""The secrets of the Compose deployment: one file each, created if missing, mounted into the containers that need it.

Containers run as unprivileged accounts that do not own the files, so the files are world-readable. Only the owner can
enter their folder: other accounts of the server cannot read them, and a container sees only its own secrets.
"""

import json
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from deploy.databases import Passwords, owner_url, service_url
from deploy.topology import CLIENT_SECRETS, CLIENTS, KAFKA_PORT, NO_MAIL, POSTGRES_PORT, SMTP_URL, TOPOLOGY, tls_files

_CERTIFICATES = "certificates"
"""The file with all certificates and their keys, which no container can read."""
_POSTGRES = f"postgres:{POSTGRES_PORT}"
_KAFKA = f"kafka:{KAFKA_PORT}"
"""The addresses of the servers on the containers' networks."""


class Secrets:
    """A folder of secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def admin_password(self) -> Path:
        """The file of the first admin's password."""
        return self.folder / "admin-password"

    @property
    def sends_mail(self) -> bool:
        """Whether a mail server is configured."""
        return (self.folder / SMTP_URL).read_text(encoding="utf-8") != NO_MAIL

    def are_new(self) -> bool:
        """Returns whether the folder has no secrets yet."""
        return not (self.folder / "postgres-password").exists()

    def create_missing(self, admin_password: str | None = None, smtp_url: str | None = None) -> None:
        """Creates the missing secrets, with random values except for a given admin password, and writes derived ones.

        A given URL of the mail server replaces the previous one. Raises OSError.
        """
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        self._read_or_create("admin-password", admin_password)
        self._read_or_create(SMTP_URL, NO_MAIL)
        if smtp_url:
            self._write(SMTP_URL, smtp_url)
        for service in TOPOLOGY.values():
            for name in set(service.secrets.values()) - {CLIENT_SECRETS}:
                self._read_or_create(name)
        clients = {client: self._read_or_create(name) for client, name in CLIENTS.items()}
        self._write(CLIENT_SECRETS, json.dumps(clients))
        server = f"postgresql://postgres:{self._read_or_create('postgres-password')}@{_POSTGRES}/postgres"
        self._write("postgres-url", server)
        for service in TOPOLOGY.values():
            names = service.database_secrets
            passwords = Passwords(self._read_or_create(names.password), self._read_or_create(names.owner_password))
            self._write(names.url, service_url(server, service.name, passwords))
            self._write(names.owner_url, owner_url(server, service.name, passwords))
            if service.uses_kafka:
                password = self._read_or_create(service.kafka_secrets.password)
                self._write(service.kafka_secrets.url, f"sasl_plaintext://{service.name}:{password}@{_KAFKA}")

    def read_certificates(self) -> str:
        """Returns the stored certificates. Empty if there are none. Raises OSError."""
        return self._certificates.read_text(encoding="utf-8") if self._certificates.exists() else ""

    def store_certificates(self, text: str) -> datetime:
        """Stores the output of deploy.certificates, and writes a file for each certificate and key.

        Returns the time of the last change. Raises OSError.
        """
        for name, value in tls_files(json.loads(text)).items():
            self._write(name, value)
        if text != self.read_certificates():
            self._write(_CERTIFICATES, text)
        return datetime.fromtimestamp(self._certificates.stat().st_mtime, UTC)

    @property
    def _certificates(self) -> Path:
        return self.folder / _CERTIFICATES

    def restore(self, secrets: Mapping[str, str]) -> None:
        """Stores secrets of a backup, and creates the others. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, value in secrets.items():
            self._write(name, value)
        self.create_missing()

    def delete(self) -> None:
        """Deletes all secrets. Raises OSError."""
        shutil.rmtree(self.folder)

    def _read_or_create(self, name: str, value: str | None = None) -> str:
        """Returns the stored secret. If it is missing, creates it with this value or a random one."""
        path = self.folder / name
        if not path.exists():
            self._write(name, value or secrets.token_urlsafe(24))
        return path.read_text(encoding="utf-8")

    def _write(self, name: str, value: str) -> None:
        """Writes a secret atomically."""
        new = self.folder / f"{name}.new"
        new.write_text(value, encoding="utf-8")
        new.chmod(0o444)
        new.replace(self.folder / name)
