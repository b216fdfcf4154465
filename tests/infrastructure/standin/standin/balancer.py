"""Load balancers: each listener of a template is a port of this container that relays connections to healthy targets.

Targets see the address of the balancer instead of the client's. An application load balancer relays connections too:
all of its target groups have the same targets, which accept HTTP/1.1 and gRPC on one port.
"""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

from ministack.services import alb

_SECONDS = 1

Target = tuple[str, int]


def patch() -> None:
    """Starts the balancer in a thread."""
    threading.Thread(target=lambda: asyncio.run(_Balancer().run()), daemon=True).start()


class _Balancer:
    def __init__(self) -> None:
        self._healthy: dict[str, set[Target]] = {}
        self._servers: dict[str, asyncio.Server] = {}

    async def run(self) -> None:
        """Follows the current listeners and targets."""
        while True:
            listeners = list(_listeners())
            for arn in set(self._servers) - {arn for arn, _, _ in listeners}:
                self._servers.pop(arn).close()
            for arn, group, port in listeners:
                await self._check(group)
                if arn not in self._servers:
                    self._servers[arn] = await asyncio.start_server(self._relay(group), "0.0.0.0", port)
            await asyncio.sleep(_SECONDS)

    async def _check(self, group: str) -> None:
        targets = set(_targets(group))
        path = alb._tgs[group].get("HealthCheckPath") or "/"
        results = await asyncio.gather(*(_is_healthy(target, path) for target in targets))
        self._healthy[group] = {target for target, healthy in zip(targets, results, strict=True) if healthy}

    def _relay(self, group: str) -> Any:
        async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
            with closing(to_client):
                registered = set(_targets(group))
                targets = list(self._healthy.get(group, set()) & registered or registered)  # AWS fails open too
                random.shuffle(targets)
                for target in targets:
                    try:
                        server, to_server = await asyncio.open_connection(*target)
                    except OSError:
                        continue
                    with closing(to_server):
                        await asyncio.gather(_pump(client, to_server), _pump(server, to_client))
                    return

        return relay


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with suppress(OSError):
        sink.write_eof()


async def _is_healthy(target: Target, path: str) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(*target)
            with closing(writer):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n".encode())
                return (await reader.read(12)).endswith(b" 200")
    except OSError:
        return False


def _listeners() -> Iterator[tuple[str, str, int]]:
    for arn, listener in _all(alb._listeners):
        if listener.get("Protocol") in {"TCP", "HTTP"}:
            for action in listener.get("DefaultActions", []):
                yield arn, action["TargetGroupArn"], int(listener["Port"])


def _targets(group: str) -> list[Target]:
    return [
        (target["Id"], int(target["Port"])) for arn, found in _all(alb._targets) if arn == group for target in found
    ]


def _all(scoped: Any) -> list[tuple[str, Any]]:
    """Returns the entries of all accounts and regions, because this thread has no account and no region."""
    return [(key[-1] if isinstance(key, tuple) else key, value) for key, value in list(scoped._data.items())]
