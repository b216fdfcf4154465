"""A service with a certificate: which clients it accepts, and which servers its clients accept."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.certificates import CERTIFICATE_DAYS, Certificates, issue, renew
from services.billing.service import BillingService
from services.common.postgres.database import Database
from services.common.rpc.client import open_channel
from services.common.rpc.tls import Tls
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import Settings, SettingsError
from tests.common.rpc.test_probe import run_probe
from tests.harness.background import Background
from tests.harness.certificates import build_settings, create_certificates, tls_of, tls_settings
from tests.harness.services import find_no_access, serve_servicer
from tests.harness.tokens import Signer

CERTIFICATES = create_certificates()


@pytest.fixture(scope="module")
def port(background: Background, signer: Signer) -> Iterator[int]:
    """The port of billing with its certificate."""
    service = serve_servicer(
        "billing",
        BillingService(Database(""), find_no_access),
        TokenVerifier(signer.trust),
        **tls_settings(CERTIFICATES, "billing"),
    )
    with background.during(service) as port:
        yield port


def check(channel: grpc.Channel) -> int | grpc.StatusCode:
    """Returns the health status that a server reports, or the code of the failure."""
    with channel:
        try:
            return int(HealthStub(channel).Check(HealthCheckRequest(), timeout=10).status)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code


def connect(port: int, service: str, credentials: grpc.ChannelCredentials) -> grpc.Channel:
    """Returns a channel that expects a server with the name of a service."""
    options = [("grpc.ssl_target_name_override", service), ("grpc.enable_http_proxy", 0)]
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)


def check_as(certificates: Certificates, name: str, port: int, *, service: str = "billing") -> int | grpc.StatusCode:
    """Returns what `check` does for a client with the certificate of a name."""
    return check(connect(port, service, tls_of(certificates, name).channel_credentials()))


def test_channel_of_a_peer_is_accepted(background: Background, port: int) -> None:
    async def call() -> int:
        tls = tls_of(CERTIFICATES, "patient")
        async with open_channel(f"127.0.0.1:{port},127.0.0.1:{port}", service="billing", tls=tls) as channel:
            response = await HealthStub(channel).Check(HealthCheckRequest(), timeout=10)
            return int(response.status)

    assert background.run(call()) == HealthCheckResponse.SERVING


def test_client_without_tls_is_refused(port: int) -> None:
    assert check(grpc.insecure_channel(f"127.0.0.1:{port}")) is grpc.StatusCode.UNAVAILABLE


def test_client_without_a_certificate_is_refused(port: int) -> None:
    credentials = grpc.ssl_channel_credentials(CERTIFICATES.trusted().encode())
    assert check(connect(port, "billing", credentials)) is grpc.StatusCode.UNAVAILABLE


def test_client_with_a_certificate_of_another_authority_is_refused(port: int) -> None:
    foreign = create_certificates().issued["gateway"]
    credentials = grpc.ssl_channel_credentials(
        CERTIFICATES.trusted().encode(), foreign.key.encode(), foreign.certificate.encode()
    )
    assert check(connect(port, "billing", credentials)) is grpc.StatusCode.UNAVAILABLE


def test_client_with_an_expired_certificate_is_refused(port: int) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=CERTIFICATE_DAYS + 1)
    expired = issue(CERTIFICATES.authorities[-2], "gateway", long_ago)
    tls = Tls(expired.certificate.encode(), expired.key.encode(), CERTIFICATES.trusted().encode())
    assert check(connect(port, "billing", tls.channel_credentials())) is grpc.StatusCode.UNAVAILABLE


def test_server_with_the_certificate_of_another_service_is_refused(port: int) -> None:
    assert check_as(CERTIFICATES, "patient", port, service="auth") is grpc.StatusCode.UNAVAILABLE
    assert check_as(CERTIFICATES, "patient", port) == HealthCheckResponse.SERVING


def test_server_of_another_authority_is_refused(port: int) -> None:
    assert check_as(create_certificates(), "patient", port) is grpc.StatusCode.UNAVAILABLE


def test_processes_before_and_after_a_rotation_accept_each_other(
    background: Background, signer: Signer, port: int
) -> None:
    now = datetime.now(UTC)
    rotated = renew(CERTIFICATES, now, rotate=True)
    assert check_as(rotated, "patient", port) == HealthCheckResponse.SERVING
    service = BillingService(Database(""), find_no_access)
    settings = tls_settings(rotated, "billing")
    with background.during(serve_servicer("billing", service, TokenVerifier(signer.trust), **settings)) as newer:
        assert check_as(CERTIFICATES, "patient", newer) == HealthCheckResponse.SERVING
    settings = tls_settings(renew(rotated, now, rotate=True), "billing")
    with background.during(serve_servicer("billing", service, TokenVerifier(signer.trust), **settings)) as newest:
        assert check_as(rotated, "patient", newest) == HealthCheckResponse.SERVING
        assert check_as(CERTIFICATES, "patient", newest) is grpc.StatusCode.UNAVAILABLE


def test_probe_uses_the_certificate_of_the_service(port: int, tmp_path: Path) -> None:
    variables = {f"PULSETRACK_{name.upper()}": text for name, text in tls_settings(CERTIFICATES, "billing").items()}
    files = {f"{name}_FILE": str(tmp_path / name) for name in variables}
    for name, text in variables.items():
        (tmp_path / name).write_text(text)
    assert run_probe(port, **variables) == ""
    assert run_probe(port, **files) == ""
    assert run_probe(port)


def test_probe_rejects_a_server_of_another_authority(port: int) -> None:
    others = tls_settings(create_certificates(), "billing")
    variables = {f"PULSETRACK_{name.upper()}": text for name, text in others.items()}
    assert "certificate verify failed" in run_probe(port, **variables)


LONG_AGO = datetime.now(UTC) - timedelta(days=CERTIFICATE_DAYS + 1)
EXPIRED = build_settings(issue(CERTIFICATES.authorities[-2], "billing", LONG_AGO), CERTIFICATES)
VALID = tls_settings(CERTIFICATES, "billing")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (VALID | {"tls_ca": ""}, "set all or none"),
        (VALID | {"tls_key": "no key"}, "not in PEM format"),
        (VALID | {"tls_certificate": "no certificate"}, "not in PEM format"),
        (VALID | {"tls_key": CERTIFICATES.issued["auth"].key}, "PULSETRACK_TLS_KEY is not the key of"),
        (EXPIRED, "PULSETRACK_TLS_CERTIFICATE expired at"),
    ],
    ids=["incomplete", "invalid key", "invalid certificate", "another key", "expired"],
)
def test_unusable_certificate_prevents_the_start(
    background: Background, signer: Signer, settings: dict[str, str], error: str
) -> None:
    service = serve_servicer(
        "billing", BillingService(Database(""), find_no_access), TokenVerifier(signer.trust), **settings
    )
    with pytest.raises(SettingsError, match=error), background.during(service):
        pass


def test_settings_without_a_certificate_use_no_tls() -> None:
    assert Tls.read(Settings(listen="127.0.0.1:0", database_url="")) is None
