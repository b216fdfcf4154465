"""The share of a server's streams that one user and one client address may hold."""

from collections import Counter
from ipaddress import ip_network
from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from services.common.context import current_caller
from services.common.errors import RateLimited
from services.common.protobuf.contract import REMOTE_ADDRESS
from services.common.rpc.interceptors import Context, Next

_Holder = tuple[str, str]
"""A kind of holder and its name: ("user", an id) or ("address", an IP address)."""


class StreamShares(AsyncServerInterceptor):
    """Refuses a stream when its user or its client address holds as many as one may. A server has one of these."""

    def __init__(self, *, per_user: int, per_address: int) -> None:
        self._limits = {"user": per_user, "address": per_address}
        self._open: Counter[_Holder] = Counter()

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest. Raises RateLimited."""
        holders = _holders(context)
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


def _holders(context: Context) -> list[_Holder]:
    """Returns who holds the stream: its user, and the address that the gateway says it comes from."""
    caller = current_caller.get()
    addresses = {_network(str(value)) for key, value in context.invocation_metadata() or () if key == REMOTE_ADDRESS}
    return [*([("user", caller.id)] if caller else []), *(("address", address) for address in sorted(addresses))]


def _network(address: str) -> str:
    """Returns an IPv4 address as it is, and the /64 of an IPv6 address, the least that a client is given."""
    try:
        return str(ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address
