"""Watches patients and creates COUNT of them while a process is killed. Each must be seen exactly once."""

import asyncio
import os
from collections import Counter
from uuid import uuid4

import pulsetrack


async def main() -> None:
    """Prints `begun` when the watch has begun, and `survived` at the end."""
    password = os.environ["PASSWORD"]
    async with pulsetrack.connect(
        os.environ["URL"], email="admin@pulsetrack.local", password=password, timeout=60
    ) as client:
        seen: Counter[str] = Counter()
        begun = asyncio.Event()

        async def watch() -> None:
            async for change in client.patients.watch(heartbeats=True):
                begun.set()
                if change.HasField("revision"):
                    seen[change.revision.patient.id] += 1

        watching = asyncio.create_task(watch())
        await begun.wait()
        print("begun", flush=True)
        created: Counter[str] = Counter()
        for number in range(int(os.environ["COUNT"])):
            email = f"{uuid4()}@clinic.test"
            patient = await client.patients.create(
                name=f"Ana {number}", email=email, address="1 High Street", date_of_birth="1980-02-29"
            )
            created[patient.id] += 1
            await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while created - seen:
                await asyncio.sleep(0.1)
        watching.cancel()
        assert all(seen[each] == 1 for each in created)
        print("survived")


asyncio.run(main())
