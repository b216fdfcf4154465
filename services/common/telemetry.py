"""What a service tells about itself: structured logs on standard error, each with its call's request id."""

import logging
import re
import secrets
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from services.common.settings import LogLevel

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the call being served, empty outside of one."""

_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The trace that the call being served belongs to (W3C Trace Context), empty outside of one."""


def continued(parent: str) -> str:
    """Returns a caller's traceparent if it is one (W3C Trace Context, version 00), or else a new one, not sampled."""
    return parent if _TRACEPARENT.fullmatch(parent) else f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


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
    handler.addFilter(_with_request_id)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _with_request_id(record: logging.LogRecord) -> bool:
    if value := request_id.get():
        record.request_id = value
    return True
