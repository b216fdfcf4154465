"""Structured logs on standard error: one JSON object per line, with the request ID and trace ID of the call."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from services.common.context import current_request_id, current_traceparent
from services.common.settings import LogLevel


def configure_logging(service: str, level: LogLevel) -> None:
    """Configures the process to write each log record to standard error as one line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            timestamp="time",
        )
    )
    handler.addFilter(add_ids)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def add_ids(record: logging.LogRecord) -> bool:
    """Adds the request ID and the trace ID of the current call to a log record. Returns True, as a logging filter."""
    if value := current_request_id.get():
        record.request_id = value
    if value := current_traceparent.get():
        record.trace_id = value.split("-")[1]
    return True
