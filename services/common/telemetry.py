"""What a service tells about itself: structured logs on standard error, each with its call's request and trace ids."""

import logging
import re
import secrets
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from pythonjsonlogger.json import JsonFormatter

from services.common.settings import LogLevel, Settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the call being served, empty outside of one."""

_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The trace that belongs to what is being done, and the span in it (W3C Trace Context); empty if there is none."""


class Measured(Protocol):
    """Something that can tell by numbers how it is."""

    async def measure(self) -> None:
        """Sets its gauges. Raises DependencyUnavailable."""


def exporting(settings: Settings, service: str, measured: Sequence[Measured]) -> AbstractAsyncContextManager[None]:
    """Sends spans and metrics to the receiver during a context, if the settings name one.

    What a receiver that is away would have got is lost, and nothing waits for it.
    """
    if not settings.otlp_endpoint:
        return nullcontext()
    from services.common.otlp import sending  # noqa: PLC0415 - imports much, which whoever exports nothing need not have

    return sending(settings.otlp_endpoint, service, measured)


def checked(parent: str) -> str:
    """Returns what came as a traceparent if it is one (W3C Trace Context, version 00), or else nothing."""
    return parent if _TRACEPARENT.fullmatch(parent) else ""


def continued(parent: str) -> str:
    """Returns a caller's traceparent if it is one, or else a new one, not sampled."""
    return checked(parent) or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def configure_logging(service: str, level: LogLevel) -> None:
    """Sends every log record to standard error as one line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            timestamp="time",
        )
    )
    handler.addFilter(_with_ids)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _with_ids(record: logging.LogRecord) -> bool:
    if value := request_id.get():
        record.request_id = value
    if value := traceparent.get():
        record.trace_id = value.split("-")[1]
    return True
