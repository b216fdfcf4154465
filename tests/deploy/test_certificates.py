"""The certificates of a deployment: when they are renewed, and which authorities are trusted meanwhile."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from cryptography import x509

from deploy.certificates import AUTHORITY_DAYS, CERTIFICATE_DAYS, RENEWAL_DAYS, Certificates, Issued, renew
from deploy.topology import CERTIFICATE_NAMES
from tools.local.process import ROOT

NOW = datetime.now(UTC)


def create_before(days: int) -> Certificates:
    """Returns certificates that were created days ago."""
    return renew(None, NOW - timedelta(days=days))


def is_issued_by(issued: Issued, authority: Issued) -> bool:
    certificate, issuer = (x509.load_pem_x509_certificate(each.certificate.encode()) for each in (issued, authority))
    return certificate.issuer == issuer.subject


def test_every_component_has_a_certificate_with_its_name() -> None:
    created = renew(None, NOW)
    assert tuple(created.issued) == CERTIFICATE_NAMES
    for name, issued in created.issued.items():
        certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [name]
        assert is_issued_by(issued, created.authorities[-2])


def test_valid_certificates_do_not_change() -> None:
    created = create_before(CERTIFICATE_DAYS - RENEWAL_DAYS - 1)
    assert renew(created, NOW) == created


def test_certificates_are_renewed_before_they_expire() -> None:
    created = create_before(CERTIFICATE_DAYS - RENEWAL_DAYS + 1)
    renewed = renew(created, NOW)
    assert renewed.authorities == created.authorities
    assert all(each.expires() > NOW + timedelta(days=CERTIFICATE_DAYS - 1) for each in renewed.issued.values())


def test_expired_certificates_are_renewed() -> None:
    renewed = renew(create_before(CERTIFICATE_DAYS + 1), NOW)
    assert all(each.expires() > NOW + timedelta(days=RENEWAL_DAYS) for each in renewed.issued.values())


def test_missing_certificate_is_issued_beside_the_others() -> None:
    created = renew(None, NOW)
    others = {name: issued for name, issued in created.issued.items() if name != "billing"}
    renewed = renew(Certificates(created.authorities, others), NOW)
    assert renewed.issued.items() >= others.items()
    assert is_issued_by(renewed.issued["billing"], created.authorities[-2])


def test_authority_is_replaced_before_it_expires() -> None:
    created = create_before(AUTHORITY_DAYS - CERTIFICATE_DAYS + 1)
    renewed = renew(created, NOW)
    assert renewed.authorities[:2] == created.authorities
    assert all(is_issued_by(issued, created.authorities[1]) for issued in renewed.issued.values())


def test_authority_is_trusted_until_the_second_rotation() -> None:
    created = renew(None, NOW)
    rotated = renew(created, NOW, rotate=True)
    assert rotated.issued.keys() == created.issued.keys()
    assert created.authorities[0] in rotated.authorities
    assert created.authorities[0] not in renew(rotated, NOW, rotate=True).authorities


def test_program_keeps_the_certificates_that_it_reads() -> None:
    def run(text: str, *arguments: str) -> Certificates:
        command = [sys.executable, "-m", "deploy.certificates", *arguments]
        return Certificates.parse(
            subprocess.run(command, check=True, cwd=ROOT, input=text, capture_output=True, text=True).stdout
        )

    created = renew(None, NOW)
    assert run(created.dump()) == created
    assert run(created.dump(), "--rotate").authorities[:2] == created.authorities
