"""The certificates with which the gateway and the services authenticate to each other.

A deployment has its own certificate authorities. `python -m deploy.certificates` reads stored certificates as JSON from
standard input, renews them, and writes them to standard output. With `--files FOLDER`, it writes new certificates to a
folder, to validate a configuration that reads them.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.topology import CERTIFICATE_NAMES, tls_files

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 730
RENEWAL_DAYS = 365
"""Certificates that are valid for less than this are renewed, so a deployment once a year is enough."""

_CLOCK_SKEW = timedelta(hours=1)
_KEPT = 3


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, in PEM format."""

    certificate: str
    key: str

    def expires(self) -> datetime:
        """Returns the end of its validity."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc


@dataclass(frozen=True)
class Certificates:
    """The certificates of a deployment.

    All authorities are trusted. The last but one issues, and the last one will issue after the next rotation: processes
    that started before a rotation and after it trust each other.
    """

    authorities: tuple[Issued, ...]
    issued: Mapping[str, Issued]
    """The certificates of the gateway and of the services, by name."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the format of `dump`. Raises ValueError, KeyError, TypeError if the text has another."""
        stored = json.loads(text)
        return cls(
            authorities=tuple(Issued(**each) for each in stored["authorities"]),
            issued={name: Issued(**each) for name, each in stored["issued"].items()},
        )

    def dump(self) -> str:
        """Returns the certificates with all private keys as JSON."""
        return json.dumps(asdict(self))

    def trusted(self) -> str:
        """Returns the certificates of all authorities in PEM format."""
        return "".join(each.certificate for each in self.authorities)

    def version(self) -> str:
        """Returns a value that changes with the certificates. It is not secret."""
        text = self.trusted() + "".join(each.certificate for each in self.issued.values())
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def renew(stored: Certificates | None, now: datetime, *, rotate: bool = False) -> Certificates:
    """Returns the stored certificates, renewed if they are missing or expire within a year.

    With `rotate`, the next authority issues all certificates, and only the previous one is still trusted.
    """
    authorities = stored.authorities if stored else (_create_authority(now), _create_authority(now))
    soon = now + timedelta(days=RENEWAL_DAYS)
    if stored and (rotate or _issuer(authorities).expires() < now + timedelta(days=CERTIFICATE_DAYS)):
        authorities, rotate = (*authorities, _create_authority(now))[-_KEPT:], True
    kept = {} if rotate or not stored else stored.issued
    issuer = _issuer(authorities)
    return Certificates(
        authorities,
        {
            name: kept[name] if name in kept and kept[name].expires() > soon else issue(issuer, name, now)
            for name in CERTIFICATE_NAMES
        },
    )


def issue(issuer: Issued, name: str, now: datetime) -> Issued:
    """Returns a new certificate of the gateway or of a service, for connections in both directions."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    authority = x509.load_pem_x509_certificate(issuer.certificate.encode())
    builder = (
        _begin(name, key, now, min(now + timedelta(days=CERTIFICATE_DAYS), issuer.expires()))
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_describe_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    return _sign(builder, key, signer=_load_key(issuer))


def _issuer(authorities: tuple[Issued, ...]) -> Issued:
    return authorities[-2]


def _create_authority(now: datetime) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"PulseTrack authority {x509.random_serial_number():x}"[:40]
    builder = (
        _begin(name, key, now, now + timedelta(days=AUTHORITY_DAYS))
        .issuer_name(_name(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_describe_usage(signs=True), critical=True)
    )
    return _sign(builder, key, signer=key)


def _begin(name: str, key: ec.EllipticCurvePrivateKey, now: datetime, expires: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _describe_usage(*, signs: bool) -> x509.KeyUsage:
    """Returns the key usage of an authority, which signs certificates, or of the others."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(issued: Issued) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(issued.key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key of an authority is not an elliptic curve key")
    return key


def _sign(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *, signer: ec.EllipticCurvePrivateKey
) -> Issued:
    encoding, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(encoding)
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, unencrypted)
    return Issued(certificate.decode(), private.decode())


def main() -> None:
    """Writes renewed certificates to standard output, or new ones to the files of a folder."""
    parser = argparse.ArgumentParser(prog="python -m deploy.certificates", description=__doc__)
    parser.add_argument("--rotate", action="store_true", help="issue all certificates by the next authority")
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="write new certificates to this folder")
    arguments = parser.parse_args()
    now = datetime.now(UTC)
    if arguments.files:
        write_files(arguments.files, renew(None, now))
    else:
        text = sys.stdin.read()
        print(renew(Certificates.parse(text) if text else None, now, rotate=arguments.rotate).dump())


def write_files(folder: Path, certificates: Certificates) -> None:
    """Writes certificates and keys to the files that `tls_files` names. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tls_files(json.loads(certificates.dump())).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
