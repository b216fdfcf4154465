"""Tests that the OpenTelemetry SDK is imported only if a receiver is configured."""

import subprocess
import sys

from services.common.protobuf.contract import SERVICES
from tools.local.process import ROOT

PROGRAM = """
import asyncio, sys
from services.{service}.__main__ import export_telemetry
from services.common.settings import Settings

async def main():
    async with export_telemetry(Settings(listen="", database_url="", otlp_endpoint=sys.argv[1]), "test", []):
        print(*sys.modules)

asyncio.run(main())
"""


def list_modules(service: str, receiver: str) -> set[str]:
    """Returns the modules that a service has imported when it runs."""
    command = [sys.executable, "-c", PROGRAM.format(service=service), receiver]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return set(ran.stdout.split())


def test_sdk_is_not_imported_without_a_receiver() -> None:
    for service in SERVICES:
        assert not {"opentelemetry.sdk", "opentelemetry.exporter"} & list_modules(service, "")


def test_sdk_is_imported_with_a_receiver() -> None:
    assert {"opentelemetry.sdk", "opentelemetry.exporter"} <= list_modules("billing", "127.0.0.1:1")
