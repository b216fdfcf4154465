"""Tests that the OpenTelemetry SDK is imported only if a receiver is configured."""

import subprocess
import sys

from services.common.protobuf.contract import SERVICES
from tools.local.process import ROOT

PROGRAM = """
import asyncio, sys
from importlib import import_module
from services.common.settings import Settings

async def main():
    settings = Settings(listen="", database_url="", otlp_endpoint=sys.argv[1])
    for service in sys.argv[2:]:
        async with import_module(f"services.{service}.__main__").export_telemetry(settings, "test", []):
            print(*sys.modules)

asyncio.run(main())
"""


def list_modules(receiver: str, *services: str) -> set[str]:
    """Returns the modules that a process imports for the services."""
    command = [sys.executable, "-c", PROGRAM, receiver, *services]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return set(ran.stdout.split())


def test_sdk_is_not_imported_without_a_receiver() -> None:
    assert not {"opentelemetry.sdk", "opentelemetry.exporter"} & list_modules("", *SERVICES)


def test_sdk_is_imported_with_a_receiver() -> None:
    assert {"opentelemetry.sdk", "opentelemetry.exporter"} <= list_modules("127.0.0.1:1", "billing")
