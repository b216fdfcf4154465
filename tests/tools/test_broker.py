"""The embedded broker."""

import asyncio
from pathlib import Path

from tools.local.broker import broker
from tools.local.part import Running
from tools.local.ports import HOST, free_port
from tools.local.ready import serves_kafka


def test_it_serves_again_after_a_kill_and_not_after_a_stop(tmp_path: Path) -> None:
    port = free_port()

    async def whole() -> None:
        async with Running(broker(port), tmp_path) as running:
            assert await serves_kafka(HOST, port)
            await running.kill()
            assert not await serves_kafka(HOST, port)
            await running.restart()
            assert await serves_kafka(HOST, port)
        assert not await serves_kafka(HOST, port)

    asyncio.run(whole())
