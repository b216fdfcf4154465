"""Measures the time from a revocation until each service rejects the access token: `python -m bench.revocation`.

Starts an instance of its own. Users lose their access one after the other, each at a random time.
"""

import argparse
import asyncio
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import grpc
import httpx

from bench.errors import BenchError
from bench.machine import describe_machine
from bench.ours import ADMIN, start_instance
from deploy.settings import HOST
from services.common.protobuf.contract import SERVICES, AccessKind, methods
from tools.instance import Instance
from tools.load.measurement import percentile

_DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "authorization.md"
_SECTION = re.compile(r"(?<=<!-- revocation -->\n).*?(?=<!-- /revocation -->)", re.DOTALL)
_CONCURRENT = 2
_POLL_SECONDS = 0.01
_LIMIT_SECONDS = 30
_MILLISECONDS = 1000
_PASSWORD = "correct horse"  # noqa: S105 - a user of this run
_REJECTED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}

Call = Callable[[str], Awaitable[None]]
"""Calls a service with an access token. Raises grpc.aio.AioRpcError."""


Revoke = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
"""Revokes the access of a user. Takes a client of the admin, and the path of the user."""


async def _disable(admin: httpx.AsyncClient, path: str) -> httpx.Response:
    return await admin.patch(path, json={"disabled": True})


async def _end_sessions(admin: httpx.AsyncClient, path: str) -> httpx.Response:
    return await admin.post(f"{path}/sessions:revoke", json={})


async def _demote(admin: httpx.AsyncClient, path: str) -> httpx.Response:
    return await admin.patch(path, json={"role": "ROLE_USER"})


_REVOCATIONS: Mapping[str, tuple[str, Revoke]] = {
    "user disabled": ("ROLE_USER", _disable),
    "session ended": ("ROLE_USER", _end_sessions),
    "admin demoted": ("ROLE_ADMIN", _demote),
}
"""The role of the user and the revocation, by its name."""


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.revocation", description=__doc__)
    parser.add_argument("--users", type=int, default=50, help="users of each kind of revocation (50)")
    parser.add_argument("--docs", action="store_true", help="also write the table to docs/authorization.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_instance(Path(folder) / "data") as (instance, _):
        delays = asyncio.run(_measure(instance, options.users))
    section = _render(delays, options.users)
    print(section)
    if options.docs:
        old = _DOCUMENT.read_text(encoding="utf-8")
        _DOCUMENT.write_text(_SECTION.sub(lambda _: f"\n{section}\n\n", old), encoding="utf-8")


async def _measure(instance: Instance, users: int) -> dict[str, dict[str, list[float]]]:
    """Returns the delays in milliseconds by revocation and place."""
    delays = {}
    async with httpx.AsyncClient(base_url=instance.url, timeout=20) as admin, _open_places(instance) as places:
        admin.headers["authorization"] = f"Bearer {await _log_in(admin, ADMIN, instance.admin_password)}"
        for name, (role, revoke) in _REVOCATIONS.items():
            slots = asyncio.Semaphore(_CONCURRENT)
            runs = (_measure_user(admin, slots, role, revoke, places) for _ in range(users))
            found = await asyncio.gather(*runs)
            delays[name] = {place: sorted(each[place] for each in found) for place in places}
    return delays


@asynccontextmanager
async def _open_places(instance: Instance) -> AsyncIterator[dict[str, Call]]:
    """Yields a call of each service, at its port and through the gateway."""
    addresses = {"port of the service": instance.state().ports, "gateway": dict.fromkeys(SERVICES, instance.port)}
    async with AsyncExitStack() as stack:
        places: dict[str, Call] = {}
        for way, ports in addresses.items():
            for service, full_name in SERVICES.items():
                path = next(method.path for method in methods(full_name) if method.access.kind is AccessKind.USERS)
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"{HOST}:{ports[service]}"))
                places[f"{service}, {way}"] = partial(_call, channel.unary_unary(path))
        yield places


async def _call(method: Callable[..., Awaitable[bytes]], token: str) -> None:
    await method(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=20)


async def _measure_user(
    admin: httpx.AsyncClient,
    slots: asyncio.Semaphore,
    role: str,
    revoke: Revoke,
    places: Mapping[str, Call],
) -> dict[str, float]:
    """Returns the milliseconds from the response of a revocation to the first rejection at each place."""
    async with slots:
        path, token = await _create_user(admin, role)
        for name, call in places.items():
            if await _is_rejected(call, token):
                raise BenchError(f"{name} rejected a token that was not revoked.")
        await asyncio.sleep(random.random())  # noqa: S311 - independent of the interval at which services read
        (await revoke(admin, path)).raise_for_status()
        start = time.perf_counter()
        delays = await asyncio.gather(*(_wait(call, token, start) for call in places.values()))
        return dict(zip(places, delays, strict=True))


async def _create_user(admin: httpx.AsyncClient, role: str) -> tuple[str, str]:
    """Returns the path of a new user, and an access token."""
    name = uuid4().hex
    email = f"{name}@clinic.test"
    new = {"email": email, "username": name, "password": _PASSWORD, "role": role}
    created = (await admin.post("/v1/users", json=new)).raise_for_status().json()
    return f"/v1/users/{created['id']}", await _log_in(admin, email, _PASSWORD)


async def _log_in(client: httpx.AsyncClient, email: str, password: str) -> str:
    response = await client.post("/v1/auth/login", json={"email": email, "password": password})
    token: str = response.raise_for_status().json()["accessToken"]
    return token


async def _wait(call: Call, token: str, start: float) -> float:
    """Returns the milliseconds from the start to the first rejection. Raises BenchError after a time limit."""
    while not await _is_rejected(call, token):
        if time.perf_counter() - start > _LIMIT_SECONDS:
            raise BenchError(f"A service accepts a revoked token after {_LIMIT_SECONDS} s.")
        await asyncio.sleep(_POLL_SECONDS)
    return (time.perf_counter() - start) * _MILLISECONDS


async def _is_rejected(call: Call, token: str) -> bool:
    try:
        await call(token)
    except grpc.aio.AioRpcError as error:
        return error.code() in _REJECTED
    return False


def _render(delays: Mapping[str, Mapping[str, Sequence[float]]], users: int) -> str:
    """Returns the table, and what was measured on which machine."""
    machine = describe_machine()
    rows = [["place", *(f"{name}: p50 / p99 / max ms" for name in delays)], ["---"] * (len(delays) + 1)]
    for place in next(iter(delays.values())):
        of_place = (each[place] for each in delays.values())
        rows.append(
            [place, *(f"{percentile(ms, 50):.0f} / {percentile(ms, 99):.0f} / {ms[-1]:.0f}" for ms in of_place)]
        )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"{table}\n\n{users} users of each kind at revision {machine.revision} on {machine.date}, {machine.processor}, "
        f"{machine.cores} cores."
    )


if __name__ == "__main__":
    main()
