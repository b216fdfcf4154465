"""Makes calls with a client of a running system, whose address and admin password are in the environment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pulsetrack

Calls = Callable[[pulsetrack.Client], Awaitable[None]]
"""Makes calls with a client."""
Run = Callable[..., str]
"""Runs a command that succeeds, and returns what it prints."""


@dataclass(frozen=True)
class System:
    """A running system, and the first admin."""

    url: str
    password: str
    email: str = "admin@pulsetrack.local"

    def run(self, calls: Calls, *, store: pulsetrack.TokenStore | None = None, password: str = "") -> None:
        """Makes calls with a client that has logged in with a password."""
        login = pulsetrack.Password(self.email, password or self.password)

        async def connected() -> None:
            async with pulsetrack.connect(self.url, credentials=login, store=store) as client:
                await asyncio.wait_for(calls(client), 60)

        asyncio.run(connected())

    def resume(self, calls: Calls, store: pulsetrack.TokenStore) -> None:
        """Makes calls with a client that continues a session."""

        async def connected() -> None:
            async with pulsetrack.connect(self.url, store=store) as client:
                await asyncio.wait_for(calls(client), 60)

        asyncio.run(connected())
