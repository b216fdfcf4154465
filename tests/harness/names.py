"""A DNS server whose answers a test changes."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

_HEADER_BYTES = 12
_TYPE_A = 1
_ANSWER = 0x8180
"""The flags of an answer without an error."""


class Names(asyncio.DatagramProtocol):
    """Answers each query for an IPv4 address with `addresses`, and any other query with an empty list."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.port = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Keeps the socket."""
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answers a query."""
        end = data.index(b"\0", _HEADER_BYTES) + 1
        [kind] = struct.unpack_from("!H", data, end)
        addresses = self.addresses if kind == _TYPE_A else []
        header = data[:2] + struct.pack("!HHHHH", _ANSWER, 1, len(addresses), 0, 0)
        records = (
            struct.pack("!HHHIH", 0xC000 + _HEADER_BYTES, _TYPE_A, 1, 0, 4) + ipaddress.IPv4Address(address).packed
            for address in addresses
        )
        self._transport.sendto(header + data[_HEADER_BYTES : end + 4] + b"".join(records), addr)


@asynccontextmanager
async def serve_names(*addresses: str) -> AsyncIterator[Names]:
    """Runs a DNS server on a free UDP port."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(lambda: Names(addresses), local_addr=("127.0.0.1", 0))
    try:
        yield names
    finally:
        transport.close()
