"""Certificates of the gateway and the services, as a deployment creates them."""

from datetime import UTC, datetime
from typing import Any

from deploy.certificates import Certificates, Issued, renew
from services.common.rpc.tls import Tls


def create_certificates() -> Certificates:
    """Returns new certificates with authorities of their own."""
    return renew(None, datetime.now(UTC))


def tls_settings(certificates: Certificates, name: str) -> dict[str, Any]:
    """Returns the settings of a service with its certificate."""
    return build_settings(certificates.issued[name], certificates)


def build_settings(issued: Issued, certificates: Certificates) -> dict[str, Any]:
    """Returns the settings of a service with any certificate."""
    return {"tls_certificate": issued.certificate, "tls_key": issued.key, "tls_ca": certificates.trusted()}


def tls_of(certificates: Certificates, name: str) -> Tls:
    """Returns the credentials of a service, or of the gateway, as a client."""
    issued = certificates.issued[name]
    return Tls(issued.certificate.encode(), issued.key.encode(), certificates.trusted().encode())
