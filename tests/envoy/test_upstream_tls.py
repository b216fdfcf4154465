"""The gateway in front of real services, to which all connections use TLS with certificates on both sides."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from deploy.certificates import write_files
from deploy.settings import HOST
from deploy.topology import GATEWAY, tls_secrets
from envoy.config import Address, Target
from envoy.site.files import write_site
from envoy.upstream_tls import UpstreamTls
from gen.pulsetrack.patient.v1 import WatchPatientsRequest
from services.common.protobuf.contract import DESCRIPTORS, SERVICES
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.tokens import TokenVerifier
from tests.common.rpc.test_server import V1, call_reflection
from tests.envoy.gateway import Gateway, has_status, start_envoy, unused_address
from tests.envoy.stub import Keys
from tests.harness.background import Background
from tests.harness.certificates import create_certificates, tls_of, tls_settings
from tests.harness.client import Client
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, serve_auth, serve_service
from tests.harness.waiting import eventually
from tests.patient.factory import create_request

CERTIFICATES = create_certificates()


@asynccontextmanager
async def run_services(urls: Mapping[str, str]) -> AsyncIterator[dict[str, tuple[Address, ...]]]:
    """Runs the four services, and a second billing with the certificate of analytics. Yields their addresses."""
    settings = {name: tls_settings(CERTIFICATES, name) for name in SERVICES}
    async with AsyncExitStack() as stack:
        ports = {"auth": [await stack.enter_async_context(serve_auth(urls["auth"], settings=settings["auth"]))]}
        address, tls = f"{HOST}:{ports['auth'][0]}", tls_of(CERTIFICATES, "patient")
        auth = await stack.enter_async_context(open_channel(address, service="auth", tls=tls))
        verifier = TokenVerifier(create_trust_fetcher(auth))
        for name, certificate in (*((name, name) for name in SERVICES if name != "auth"), ("billing", "analytics")):
            service = serve_service(name, urls[name], verifier, **settings[certificate])
            ports.setdefault(name, []).append(await stack.enter_async_context(service))
        yield {name: tuple(Address(HOST, port) for port in found) for name, found in ports.items()}


@pytest.fixture(scope="module")
def gateway(
    background: Background, new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """The gateway in front of the services."""
    folder = tmp_path_factory.mktemp("tls")
    write_files(folder, CERTIFICATES)
    urls = {service: new_database(service) for service in SERVICES}
    with ExitStack() as stack:
        upstreams = stack.enter_context(background.during(run_services(urls)))
        target = Target(
            listen=unused_address(),
            admin=unused_address(),
            upstreams=upstreams,
            descriptors=DESCRIPTORS,
            site=write_site(folder / "site"),
            access_log=folder / "access.log",
            tls=UpstreamTls(*(str(folder / name) for name in tls_secrets(GATEWAY))),
        )
        start_envoy(target, folder, stack)
        address = f"{HOST}:{target.listen.port}"
        http = stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=10))
        channel = stack.enter_context(grpc.insecure_channel(address))
        eventually(lambda: has_status(http, "/readyz", 200))
        yield Gateway(target, Keys(), {}, http, channel)


@pytest.fixture(scope="module")
def token(gateway: Gateway) -> str:
    """The token of the first admin."""

    def log_in() -> str:
        response = gateway.http.post("/v1/auth/login", json={"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD})
        return str(response.json().get("accessToken", ""))

    found = eventually(log_in)
    headers = {"authorization": f"Bearer {found}"}
    eventually(lambda: has_status(gateway.http, "/v1/patients", 200, **headers))  # the gateway has read the keys
    return found


def read_statistic(gateway: Gateway, name: str) -> int:
    """Returns a value of Envoy's statistics."""
    admin = gateway.target.admin
    response = httpx.get(f"http://{admin.host}:{admin.port}/stats", params={"filter": f"^{name}$"})
    return int(response.text.split(": ")[1])


def test_call_reaches_every_service(gateway: Gateway, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    for path in ("/v1/auth/me", "/v1/patients", "/v1/billing/accounts", "/v1/analytics/events"):
        assert gateway.http.get(path, headers=headers).status_code == 200, path


def test_stream_passes_through(gateway: Gateway, token: str) -> None:
    patients = Client(gateway.channel, "patient", token)
    with patients.watch_patients(WatchPatientsRequest()) as watch:
        next(watch)
        created = patients.create_patient(create_request())
        change = next(response for response in watch if response.revision)
        assert change.revision.patient.id == created.id


@pytest.mark.parametrize("service", SERVICES)
def test_health_of_a_service_is_reported(gateway: Gateway, service: str) -> None:
    response = HealthStub(gateway.channel).Check(HealthCheckRequest(service=SERVICES[service]), timeout=10)
    assert response.status == HealthCheckResponse.SERVING


def test_reflection_passes_through(gateway: Gateway) -> None:
    response = call_reflection(gateway.channel, V1, ServerReflectionRequest(list_services=""))
    assert response.list_services_response.service


def test_endpoint_with_the_certificate_of_another_service_receives_no_call(gateway: Gateway, token: str) -> None:
    eventually(lambda: read_statistic(gateway, "cluster.billing.membership_healthy") == 1)
    assert read_statistic(gateway, "cluster.billing.membership_total") == 2
    assert read_statistic(gateway, "cluster.billing.ssl.fail_verify_san") > 0
    headers = {"authorization": f"Bearer {token}"}
    assert {gateway.http.get("/v1/billing/accounts", headers=headers).status_code for _ in range(10)} == {200}
