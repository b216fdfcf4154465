"""The open streams of a server, and the limits that apply to each of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from ipaddress import ip_network
from typing import Any, Protocol, TypeVar

from grpc_interceptor.server import AsyncServerInterceptor

from services.common.context import Caller, current_caller
from services.common.errors import DependencyUnavailable, Failure, RateLimited, ReaderTooSlow, TokenInvalid
from services.common.protobuf.contract import REMOTE_ADDRESS
from services.common.rpc.interceptors import Context, Next
from services.common.rpc.metadata import read_metadata

T = TypeVar("T")

_Holder = tuple[str, str]
"""The kind and the name of a holder of streams: ("user", an id) or ("address", an IP address)."""


class Writer(Protocol):
    """Writes to the client of a stream. It is the part of grpc's context that a stream uses."""

    async def send_initial_metadata(self, initial_metadata: tuple[()]) -> None:
        """Sends the response headers."""

    async def write(self, message: bytes) -> None:
        """Sends a response as soon as flow control permits."""


class Stream:
    """An open stream: its caller, and the failure with which it ends when its timeout expires."""

    def __init__(self, caller: Caller | None) -> None:
        self.caller = caller
        self.timeout = asyncio.timeout(caller.expires - time.time() if caller else None)
        self.failure: Failure = TokenInvalid()

    def end(self, failure: Failure) -> None:
        """Ends the stream with a failure, unless it is already ending."""
        if not self.timeout.expired():
            self.failure = failure
            self.timeout.reschedule(asyncio.get_running_loop().time())


class Streams:
    """The open streams of a server. Each ends when its token expires, its client is too slow or the server stops."""

    def __init__(self, *, write_seconds: float) -> None:
        """Takes the maximum time in seconds for which a response may wait for flow control."""
        self._write_seconds = write_seconds
        self._open: set[Stream] = set()
        self._is_ending = False

    async def send(
        self, responses: AsyncGenerator[T, None], dumps: Callable[[T], bytes], writer: Writer, caller: Caller | None
    ) -> None:
        """Sends the responses. Closes their generator at the end, even if the client disconnects.

        Raises TokenInvalid when the caller's token expires or is revoked, UserDisabled, ReaderTooSlow, and
        DependencyUnavailable when the server stops.
        """
        with self._register(caller) as stream:
            try:
                async with stream.timeout, aclosing(responses):
                    started = False
                    async for response in responses:
                        if not started:
                            await _send_headers(writer)
                            started = True
                        await self._write(dumps(response), writer)
            except TimeoutError:
                if not stream.timeout.expired():
                    raise
                raise stream.failure from None

    def end(self) -> None:
        """Ends all streams and rejects new ones. Clients reconnect to another server, or here after a restart."""
        self._is_ending = True
        for stream in self._open:
            stream.end(DependencyUnavailable())

    def end_unauthorized(self, check: Callable[[Caller], None]) -> None:
        """Ends each stream whose caller fails the check, with the Failure that the check raises."""
        for stream in self._open:
            try:
                if stream.caller:
                    check(stream.caller)
            except Failure as failure:
                stream.end(failure)

    @contextmanager
    def _register(self, caller: Caller | None) -> Iterator[Stream]:
        if self._is_ending:
            raise DependencyUnavailable
        stream = Stream(caller)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)

    async def _write(self, response: bytes, writer: Writer) -> None:
        timeout = asyncio.timeout(self._write_seconds)
        try:
            async with timeout:
                await writer.write(response)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise ReaderTooSlow from None


async def _send_headers(writer: Writer) -> None:
    """Sends the response headers, even if the stream ends meanwhile.

    grpc.aio cannot send a status while the headers are being sent: the call would stay open until the server stops.
    """
    sending = asyncio.ensure_future(writer.send_initial_metadata(()))
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await sending
        raise


class StreamQuota(AsyncServerInterceptor):
    """Limits the open streams of each user and of each client address. A server has one instance."""

    def __init__(self, *, per_user: int, per_address: int) -> None:
        self._limits = {"user": per_user, "address": per_address}
        self._open: Counter[_Holder] = Counter()

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Counts the stream and calls the next interceptor. Raises RateLimited."""
        holders = _find_holders()
        if any(self._open[holder] >= self._limits[holder[0]] for holder in holders):
            raise RateLimited
        self._open.update(holders)
        try:
            return await method(request_or_iterator, context)
        finally:
            self._release(holders)

    def _release(self, holders: list[_Holder]) -> None:
        for holder in holders:
            self._open[holder] -= 1
            if not self._open[holder]:
                del self._open[holder]


def _find_holders() -> list[_Holder]:
    """Returns the holders of the current stream: its user, and the client address that the gateway reports."""
    caller = current_caller.get()
    addresses = {_network_of(value) for value in read_metadata(REMOTE_ADDRESS)}
    return [*([("user", caller.id)] if caller else []), *(("address", address) for address in sorted(addresses))]


def _network_of(address: str) -> str:
    """Returns an IPv4 address unchanged, and the /64 network of an IPv6 address, the smallest that a client gets."""
    try:
        return str(ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address
