"""The reference service as a system under measurement. It runs in the environment of `bench/requirements.lock`."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

from bench.errors import BenchError
from bench.gateway import build_gateway
from bench.system import Queries, System
from deploy.settings import HOST
from deploy.topology import TOPOLOGY
from envoy.config import Address
from tools.local.checks import is_http_ready
from tools.local.part import Part, RunningPart
from tools.local.postgres import Postgres
from tools.local.process import ROOT, Command, run_to_end
from tools.local.system import build_broker
from tools.ports import reserve_free_port

PYTHON = ROOT / "build" / "bench" / "bin" / "python"
"""The Python of the reference service's environment, which `make bench` creates."""

ADMIN = "admin@twin.local"

_ISSUER = "twin"
_WORKERS = 2
_QUERIES = Queries(
    undelivered="SELECT count(*) FROM outbox WHERE delivered_time IS NULL",
    changes="SELECT count(*) FROM revisions",
    analyzed="SELECT count(*) FROM analytics_events",
    latencies=(
        "SELECT extract(epoch FROM receive_time - occur_time) * 1000 FROM analytics_events"
        " WHERE occur_time >= to_timestamp($1)"
    ),
)


@dataclass(frozen=True)
class Reference:
    """The running reference service."""

    system: System
    url: str
    gateway_url: str
    """The URL of the Envoy in front of it."""
    untuned_url: str
    """The URL of an API that verifies each token and reads in transactions."""
    admin_password: str
    start_seconds: float


@asynccontextmanager
async def start_reference(folder: Path) -> AsyncIterator[Reference]:
    """Starts the reference service with its own Postgres, broker and Envoy. Raises BenchError, StartError."""
    if not PYTHON.exists():
        raise BenchError("The environment of the reference service is missing. Run `make bench`, which creates it.")
    start = time.monotonic()
    async with AsyncExitStack() as stack:
        ports = {
            name: stack.enter_context(reserve_free_port()).port
            for name in ("postgres", "broker", "api", "untuned", "billing", "gateway")
        }
        builder = _Builder(folder, ports)
        pids = {}
        for part in builder.servers():
            pids[part.name] = (await stack.enter_async_context(RunningPart(part, folder / "logs"))).pid
        await run_to_end("setup", builder.command("-m", "bench.twin.setup"), folder / "logs" / "setup.log")
        for part in builder.programs():
            pids[part.name] = (await stack.enter_async_context(RunningPart(part, folder / "logs"))).pid
        url = builder.postgres.url()
        yield Reference(
            system=System("reference", pids, url, url, _QUERIES),
            url=f"http://{HOST}:{ports['api']}",
            gateway_url=f"http://{HOST}:{ports['gateway']}",
            untuned_url=f"http://{HOST}:{ports['untuned']}",
            admin_password=builder.admin_password,
            start_seconds=time.monotonic() - start,
        )


class _Builder:
    """Builds the parts of the reference service."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self._folder = folder
        self._ports = ports
        self.admin_password = secrets.token_urlsafe(16)
        self.postgres = Postgres(folder / "postgres", ports["postgres"], secrets.token_urlsafe(16))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._write_secrets()

    def servers(self) -> list[Part]:
        """Returns Postgres and the broker."""
        return [self.postgres.part(), build_broker(self._ports["broker"])]

    def programs(self) -> list[Part]:
        """Returns the reference service's own processes, and Envoy."""
        listen = Address(HOST, self._ports["gateway"])
        api = Address(HOST, self._ports["api"])
        file = self._folder / "envoy.yaml"
        gateway = build_gateway(listen, api, issuer=_ISSUER, jwks=self._jwks(), file=file)
        return [
            self._serve("billing", workers=1),
            self._serve("api", workers=_WORKERS),
            self._serve("untuned", workers=_WORKERS),
            Part(name="analytics", command=self.command("-m", "bench.twin.analytics"), ready=_is_started),
            Part(
                name="gateway",
                command=gateway,
                ready=partial(is_http_ready, HOST, listen.port, "/readyz"),
                output="access",
            ),
        ]

    def command(self, *arguments: str, is_tuned: bool = True) -> Command:
        """Returns a command that runs Python in the reference service's environment."""
        environment = {
            "TWIN_SECRETS": str(self._folder / "secrets"),
            "TWIN_KAFKA": f"{HOST}:{self._ports['broker']}",
            "TWIN_BILLING_URL": f"http://{HOST}:{self._ports['billing']}",
            "TWIN_TUNED": "on" if is_tuned else "off",
            **TOPOLOGY["auth"].variables,  # it hashes passwords too
        }
        return Command(argv=(str(PYTHON), *arguments), environment=environment)

    def _serve(self, name: str, *, workers: int) -> Part:
        module = "bench.twin.billing:app" if name == "billing" else "bench.twin.app:app"
        server = ("-m", "uvicorn", module, "--log-level", "warning")
        address = ("--host", HOST, "--port", str(self._ports[name]))
        tuned = ("--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log")
        keep_alive = ("--timeout-keep-alive", "300")  # clients reuse connections that were idle between cases
        return Part(
            name=name,
            command=self.command(*server, *address, *tuned, *keep_alive, is_tuned=name != "untuned"),
            ready=partial(is_http_ready, HOST, self._ports[name], "/readyz"),
            stop_seconds=5,
        )

    def _write_secrets(self) -> None:
        folder = self._folder / "secrets"
        folder.mkdir(mode=0o700, parents=True)
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "signing-key.pem").write_bytes(pem)
        url = self.postgres.url().replace("postgresql://", "postgresql+asyncpg://")
        (folder / "database-url").write_text(url, encoding="utf-8")
        (folder / "admin-password").write_text(self.admin_password, encoding="utf-8")

    def _jwks(self) -> object:
        public = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "twin", "use": "sig", "alg": "ES256"}]}


async def _is_started() -> bool:
    """Returns True: the consumer of analytics has no port, and events wait in the topic."""
    return True
