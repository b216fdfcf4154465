"""Without a receiver: nothing of the SDK is there."""

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


def modules(service: str, receiver: str) -> set[str]:
    """Returns what a service's program has imported when it serves."""
    command = [sys.executable, "-c", PROGRAM.format(service=service), receiver]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return set(ran.stdout.split())


def test_a_service_that_exports_nothing_has_not_imported_what_exports() -> None:
    for service in SERVICES:
        assert not {"opentelemetry.sdk", "opentelemetry.exporter"} & modules(service, "")


def test_one_that_exports_has() -> None:
    assert {"opentelemetry.sdk", "opentelemetry.exporter"} <= modules("billing", "127.0.0.1:1")
