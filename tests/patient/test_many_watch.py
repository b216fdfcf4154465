"""A thousand who watch one process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc

from gen.pulsetrack.patient.v1 import WatchPatientsResponse
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from tests.harness.background import Background
from tests.harness.client import Client
from tests.harness.tokens import Signer
from tests.patient.factory import create_request

WATCHERS, CHANGES = 1000, 20
METHOD = f"/{SERVICES['patient']}/WatchPatients"
loads = codec.codec_of(WatchPatientsResponse).loads


def test_each_of_a_thousand_is_told_of_each_change(
    background: Background, grpc_addr: str, signer: Signer, patients: Client
) -> None:
    async def story() -> None:
        async with grpc.aio.insecure_channel(grpc_addr) as channel:
            method: Any = channel.unary_stream(METHOD)
            users = [signer.token("USER", sub=str(uuid4())) for _ in range(WATCHERS)]
            watches = [aiter(method(b"", metadata=(("authorization", f"Bearer {user}"),))) for user in users]
            for watch in watches:
                assert not loads(await anext(watch)).revision
            seen = asyncio.gather(*(changed(watch) for watch in watches))
            created = [(await asyncio.to_thread(patients.create_patient, create_request())).id for _ in range(CHANGES)]
            assert await seen == [created] * WATCHERS

    background.run(story(), seconds=120)


async def changed(watch: AsyncIterator[bytes]) -> list[str]:
    """Returns of which patients the first changes are that somebody sees."""
    ids: list[str] = []
    async for data in watch:
        answer = loads(data)
        if answer.revision and answer.revision.patient:
            ids.append(answer.revision.patient.id)
        if len(ids) == CHANGES:
            break
    return ids
