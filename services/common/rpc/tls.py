"""TLS between the gateway and the services, in which both sides have a certificate."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.common.settings import Settings, SettingsError


@dataclass(frozen=True)
class Tls:
    """A service's certificate and key, and the authorities that issue those of its peers, in PEM format."""

    certificate: bytes
    key: bytes
    authorities: bytes

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """Returns the credentials in the settings, or None if there are none. Raises SettingsError."""
        texts = (settings.tls_certificate, settings.tls_key, settings.tls_ca)
        if not any(texts):
            return None
        if not all(texts):
            raise SettingsError(
                "PULSETRACK_TLS_CERTIFICATE, PULSETRACK_TLS_KEY and PULSETRACK_TLS_CA: set all or none."
            )
        tls = cls(*(text.encode() for text in texts))
        tls._check()
        return tls

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns the credentials of a server that accepts only clients with a certificate of the authorities."""
        return grpc.ssl_server_credentials([(self.key, self.certificate)], self.authorities, require_client_auth=True)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials of a client."""
        return grpc.ssl_channel_credentials(self.authorities, self.key, self.certificate)

    def _check(self) -> None:
        """Raises SettingsError if grpc would fail to use the credentials, without a reason."""
        try:
            certificate = x509.load_pem_x509_certificates(self.certificate)[0]
            x509.load_pem_x509_certificates(self.authorities)
            key = load_pem_private_key(self.key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(f"PULSETRACK_TLS_CERTIFICATE, _KEY or _CA is not in PEM format: {error}") from None
        if key.public_key() != certificate.public_key():
            raise SettingsError("PULSETRACK_TLS_KEY is not the key of PULSETRACK_TLS_CERTIFICATE.")
        if (expired := certificate.not_valid_after_utc) <= datetime.now(UTC):
            raise SettingsError(f"PULSETRACK_TLS_CERTIFICATE expired at {expired:%Y-%m-%d %H:%M} UTC.")


def bind_port(server: grpc.aio.Server, settings: Settings) -> int:
    """Returns the port on which the server listens, with TLS if the settings contain a certificate.

    Raises SettingsError.
    """
    tls = Tls.read(settings)
    try:
        if tls:
            return server.add_secure_port(settings.listen, tls.server_credentials())
        return server.add_insecure_port(settings.listen)
    except RuntimeError:
        raise SettingsError(
            f"PULSETRACK_LISTEN: cannot listen on {settings.listen}. The port is in use, or the host is not a local"
            " address."
        ) from None
