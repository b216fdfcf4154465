"""One process serves a thousand watchers."""

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


def test_one_thousand_watchers_receive_every_change(
    background: Background, grpc_addr: str, signer: Signer, patients: Client
) -> None:
    async def scenario() -> None:
        async with grpc.aio.insecure_channel(grpc_addr) as channel:
            method: Any = channel.unary_stream(METHOD)
            users = [signer.token("USER", sub=str(uuid4())) for _ in range(WATCHERS)]
            watches = [aiter(method(b"", metadata=(("authorization", f"Bearer {user}"),))) for user in users]
            for watch in watches:
                assert not loads(await anext(watch)).revision
            seen = asyncio.gather(*(read_changed_ids(watch) for watch in watches))
            created = [(await asyncio.to_thread(patients.create_patient, create_request())).id for _ in range(CHANGES)]
            assert await seen == [created] * WATCHERS

    background.run(scenario(), seconds=120)


async def read_changed_ids(watch: AsyncIterator[bytes]) -> list[str]:
    """Returns the ids of the patients of the first changes of a watch."""
    ids: list[str] = []
    async for data in watch:
        response = loads(data)
        if response.revision and response.revision.patient:
            ids.append(response.revision.patient.id)
        if len(ids) == CHANGES:
            break
    return ids
