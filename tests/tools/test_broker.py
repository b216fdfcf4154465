"""The embedded broker."""

import asyncio
from pathlib import Path

from deploy.settings import HOST
from tools.local.part import RunningPart, serves_kafka
from tools.local.system import broker
from tools.ports import free_port


def test_it_serves_again_after_a_kill_and_not_after_a_stop(tmp_path: Path) -> None:
    port = free_port()

    async def whole() -> None:
        async with RunningPart(broker(port), tmp_path) as running:
            assert await serves_kafka(HOST, port)
            await running.kill()
            assert not await serves_kafka(HOST, port)
            await running.restart()
            assert await serves_kafka(HOST, port)
        assert not await serves_kafka(HOST, port)

    asyncio.run(whole())
