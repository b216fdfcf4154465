"""Verification of the certificate of the database server, as on AWS."""

import asyncio
import os
import ssl
import struct
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.settings import HOST
from tests.harness.background import Background


@dataclass
class Authority:
    """A certificate authority."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str) -> "Authority":
        """Creates an authority."""
        return cls(_name(name), ec.generate_private_key(ec.SECP256R1()))

    def write(self, path: Path) -> Path:
        """Writes its own certificate to a file."""
        own = self._certificate(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return _write(path, own.sign(self.key, hashes.SHA256()))

    def certify(self, folder: Path) -> SSLContext:
        """Returns the TLS context of a server at HOST, and writes its files to the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))])
        certificate = self._certificate(_name("server"), key).add_extension(alternative, critical=False)
        private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "key.pem").write_bytes(key.private_bytes(*private))
        context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            _write(folder / "server.pem", certificate.sign(self.key, hashes.SHA256())), folder / "key.pem"
        )
        return context

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("authority")


@pytest.fixture(scope="module")
def server(
    background: Background,
    authority: Authority,
    new_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The URL of a database whose server has a certificate from the authority."""
    url = urlsplit(new_database("billing"))
    tls = authority.certify(tmp_path_factory.mktemp("tls"))
    with background.during(terminate_tls(tls, url.port or 0)) as port:
        yield url._replace(netloc=f"{url.username}:{url.password}@{HOST}:{port}").geturl()


@asynccontextmanager
async def terminate_tls(tls: SSLContext, postgres: int) -> AsyncIterator[int]:
    """Terminates TLS in front of a Postgres that was built without it, and yields the port."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        assert await reader.readexactly(8) == struct.pack(">II", 8, 80877103)  # SSLRequest
        writer.write(b"S")
        with suppress(OSError):  # the client rejects the certificate
            await writer.start_tls(tls)
            to_reader, to_writer = await asyncio.open_connection(HOST, postgres)
            await asyncio.gather(copy_stream(reader, to_writer), copy_stream(to_reader, writer))

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def copy_stream(reader: StreamReader, writer: StreamWriter) -> None:
    """Copies a stream to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_server_certificate_of_the_authority_is_accepted(server: str, authority: Authority, tmp_path: Path) -> None:
    ended = run_migration(server, authority.write(tmp_path / "ca.pem"))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_server_certificate_of_another_authority_is_rejected(server: str, tmp_path: Path) -> None:
    ended = run_migration(server, Authority.create("authority").write(tmp_path / "ca.pem"))
    assert ended.returncode == 1
    assert "certificate verify failed" in ended.stderr


def test_missing_authority_file_is_an_error(server: str, tmp_path: Path) -> None:
    ended = run_migration(server, tmp_path / "ca.pem")
    assert ended.returncode == 1
    assert str(tmp_path / "ca.pem") in ended.stderr


def run_migration(url: str, authorities: Path) -> "subprocess.CompletedProcess[str]":
    """Migrates in a process that verifies the server, and returns the ended process."""
    settings = {"PULSETRACK_DATABASE_URL": url, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(authorities)}
    program = [sys.executable, "-m", "services.common.postgres.migrate", "billing"]
    return subprocess.run(program, check=False, capture_output=True, text=True, env=os.environ | settings, timeout=60)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
