"""Runs all measurements: starts both systems, and lets them take turns."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
import grpc

from bench import echo, ours
from bench.apis import NativeApi, RestApi
from bench.cases import (
    CASES,
    NATIVE,
    OURS,
    REFERENCE,
    REFERENCE_GATEWAY,
    REFERENCE_UNTUNED,
    Case,
    Variant,
    seed_patients,
)
from bench.events import measure_event_latency
from bench.limits import BUSY_PER_SECOND, FIRST_START, QUIET_PER_SECOND, REFERENCE_START, WARM_START
from bench.machine import read_load
from bench.measure import FLOOR, measure_calls, measure_case
from bench.processes import read_cpu_seconds
from bench.reference import ADMIN, Reference, start_reference
from bench.results import Results
from bench.watches import measure_fan_out
from deploy.settings import HOST
from tools.instance import Instance
from tools.load.clients import connect_grpc
from tools.local.checks import is_listening
from tools.local.part import Part, RunningPart
from tools.local.process import Command
from tools.ports import reserve_free_port

_SEEDED = 300
_WATCHES = 40  # a caller may open 50
_WATCHED_CHANGES = 50
_EVENT_SECONDS = {QUIET_PER_SECOND: 5.0, BUSY_PER_SECOND: 4.0}
_MIN_CALLS = 32
_TIMEOUT = aiohttp.ClientTimeout(total=30)

Progress = Callable[[str], None]


class _Echo(NamedTuple):
    """A running empty server."""

    pid: int
    channel: grpc.aio.Channel


@contextmanager
def start_ours(folder: Path, results: Results) -> Iterator[Instance]:
    """Starts PulseTrack twice, to measure the first and a later start, and yields the second instance."""
    with ours.start_instance(folder / "ours") as (_, seconds):
        results.start_seconds[FIRST_START] = seconds
    with ours.start_instance(folder / "ours") as (instance, seconds):
        results.start_seconds[WARM_START] = seconds
        yield instance


async def measure_all(
    instance: Instance, folder: Path, results: Results, progress: Progress, *, is_alone: bool = False
) -> None:
    """Measures the running instance and, unless it is alone, the reference service, and adds to the results.

    Raises BenchError.
    """
    async with AsyncExitStack() as stack:
        reference = None
        if not is_alone:
            reference = await stack.enter_async_context(start_reference(folder / "reference"))
            results.start_seconds[REFERENCE_START] = reference.start_seconds
        server = await stack.enter_async_context(_start_echo(folder))
        variants = await stack.enter_async_context(_open_variants(instance, reference))
        await _authorize(variants)
        systems = {variant.system.name: variant.system for variant in variants.values()}
        results.idle_mib = {name: system.read_memory() for name, system in systems.items()}
        progress("Creating patients")
        await _seed(variants)
        results.load.append(read_load())
        for number in range(1, results.rounds + 1):
            progress(f"Round {number} of {results.rounds}")
            await _authorize(variants)
            await _measure_round(variants, results, number)
            await _measure_floor(server, results, number)
        results.load.append(read_load())
        if reference:
            progress("Events and watches")
            await _measure_events(variants, instance, results)
        results.loaded_mib = {name: system.read_memory() for name, system in systems.items()}


@asynccontextmanager
async def _open_variants(instance: Instance, reference: Reference | None) -> AsyncIterator[dict[str, Variant]]:
    """Connects to the systems over all protocols."""
    async with AsyncExitStack() as stack:

        async def connect(url: str) -> RestApi:
            connector = aiohttp.TCPConnector(limit=0)
            session = aiohttp.ClientSession(url, connector=connector, timeout=_TIMEOUT)
            return RestApi(await stack.enter_async_context(session))

        system = await stack.enter_async_context(ours.describe(instance))
        admin = (ours.ADMIN, instance.admin_password)
        native = NativeApi(await stack.enter_async_context(connect_grpc(instance.url)))
        variants = [
            Variant(OURS, system, await connect(instance.url), admin),
            Variant(NATIVE, system, native, admin),
        ]
        if reference:
            twin = await stack.enter_async_context(reference.system)
            twin_admin = (ADMIN, reference.admin_password)
            variants += [
                Variant(REFERENCE, twin, await connect(reference.url), twin_admin),
                Variant(REFERENCE_GATEWAY, twin, await connect(reference.gateway_url), twin_admin),
                Variant(REFERENCE_UNTUNED, twin, await connect(reference.untuned_url), twin_admin),
            ]
        yield {variant.name: variant for variant in variants}


async def _authorize(variants: dict[str, Variant]) -> None:
    """Renews the access tokens, which expire after 15 minutes."""
    for variant in variants.values():
        variant.api.authorize(await variant.api.login(*variant.credentials))


async def _seed(variants: dict[str, Variant]) -> None:
    """Creates patients in each system, for all of its variants."""
    for name in filter(variants.__contains__, (OURS, REFERENCE)):
        system = variants[name].system
        seed = await seed_patients(variants[name], _SEEDED)
        for variant in variants.values():
            if variant.system is system:
                variant.seed = seed
        await system.settle()


async def _measure_round(variants: dict[str, Variant], results: Results, number: int) -> None:
    for case in CASES:
        calls = _count_calls(case, results.calls)
        for name in filter(variants.__contains__, case.variants):
            results.measurements.append(await measure_case(case, variants[name], calls, number))


@asynccontextmanager
async def _start_echo(folder: Path) -> AsyncIterator[_Echo]:
    """Starts an empty grpc.aio server. No channel may be open yet: gRPC's threads must not be forked."""
    with reserve_free_port() as reservation:
        port = reservation.port
        part = Part(name="echo", command=Command(argv=echo.command(port)), ready=partial(is_listening, HOST, port))
        async with (
            RunningPart(part, folder / "logs") as running,
            grpc.aio.insecure_channel(f"{HOST}:{port}") as channel,
        ):
            yield _Echo(running.pid, channel)


async def _measure_floor(server: _Echo, results: Results, number: int) -> None:
    """Measures an empty grpc.aio call without a gateway."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(echo.METHOD)

    async def send(_: int) -> None:
        await call(b"")

    async def settle() -> None:
        """Nothing follows the call."""

    read = partial(read_cpu_seconds, {"echo": server.pid})
    labels = (FLOOR, FLOOR, number)
    results.measurements.append(await measure_calls(send, read, settle, calls=results.calls, labels=labels))


async def _measure_events(variants: dict[str, Variant], instance: Instance, results: Results) -> None:
    await _authorize(variants)
    for per_second, seconds in _EVENT_SECONDS.items():
        for name in (OURS, REFERENCE):
            results.events.append(await measure_event_latency(variants[name], per_second, seconds))
    token = await variants[OURS].api.login(*variants[OURS].credentials)
    results.fan_out = await measure_fan_out(
        variants[OURS], instance.url, token, watches=_WATCHES, changes=_WATCHED_CHANGES
    )


def _count_calls(case: Case, calls: int) -> int:
    return max(round(calls * case.share), _MIN_CALLS)
