"""Tests the tracing interceptor on its own."""

import asyncio
from dataclasses import replace

from services.common.context import current_traceparent
from services.common.observability.tracing import Tracing
from services.common.protobuf.contract import SERVICES, Method, methods

SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
METHOD = methods(SERVICES["billing"])[0]


def call_handler(method: Method) -> str:
    """Returns the traceparent that the handler of a method sees."""

    async def handler(_request: object, _context: object) -> str:
        return current_traceparent.get()

    async def call() -> str:
        current_traceparent.set(SAMPLED)
        response: str = await Tracing(method).intercept(handler, None, None, method.path)
        return response

    return asyncio.run(call())


def test_work_within_a_stream_is_not_traced() -> None:
    assert call_handler(replace(METHOD, streams=False)) == SAMPLED
    assert call_handler(replace(METHOD, streams=True)) == f"{SAMPLED[:-2]}00"
