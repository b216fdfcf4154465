"""Runs stories with a client of a running system, whose address and admin password are in the environment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pulsetrack

Story = Callable[[pulsetrack.Client], Awaitable[None]]
"""Makes calls with a client."""


@dataclass(frozen=True)
class System:
    """A running system, and the first admin."""

    url: str
    password: str
    email: str = "admin@pulsetrack.local"

    def tell(self, story: Story, *, store: pulsetrack.TokenStore | None = None, password: str = "") -> None:
        """Runs a story with a client that has logged in with a password."""
        login = pulsetrack.Password(self.email, password or self.password)

        async def connected() -> None:
            async with pulsetrack.connect(self.url, credentials=login, store=store) as client:
                await asyncio.wait_for(story(client), 60)

        asyncio.run(connected())

    def resume(self, story: Story, store: pulsetrack.TokenStore) -> None:
        """Runs a story with a client that continues a session."""

        async def connected() -> None:
            async with pulsetrack.connect(self.url, store=store) as client:
                await asyncio.wait_for(story(client), 60)

        asyncio.run(connected())
