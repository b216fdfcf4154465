"""The health check script of the containers, run against a real service."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from deploy import probe
from services.common.rpc.tokens import TokenVerifier
from tests.common.conftest import StoppableDatabase
from tests.harness.background import Background
from tests.harness.services import serve_service
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tools.ports import free_port


def run_probe(port: int, **variables: str) -> str:
    """Runs the health check and returns its error, "" if the service is healthy."""
    environment = os.environ | {"PULSETRACK_LISTEN": f"0.0.0.0:{port}"} | variables
    script = [sys.executable, "-I", "-S", str(probe.__file__)]
    done = subprocess.run(script, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr.strip()


@contextmanager
def respond_with(response: bytes) -> Iterator[int]:
    """Runs a server that sends these bytes to one client and disconnects. Yields its port."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        done = thread.submit(serve)
        yield server.getsockname()[1]
        done.result()


def test_probe_follows_the_health_of_the_service(
    background: Background, signer: Signer, stoppable_database: StoppableDatabase
) -> None:
    with background.during(serve_service("billing", stoppable_database.url, TokenVerifier(signer.trust))) as port:
        assert run_probe(port) == ""
        stoppable_database.kill()
        eventually(lambda: run_probe(port) == "The service is not serving.")
        stoppable_database.start()
        eventually(lambda: run_probe(port) == "")


def test_closed_port_is_unhealthy() -> None:
    assert "Connection refused" in run_probe(free_port())


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\7\0\0\0\0\0" + bytes(8),  # SETTINGS and GOAWAY
        b"\0\0\1\1\5\0\0\0\1\x88",  # headers without a message: an error
        b"\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08\2",  # NOT_SERVING
        b"\0\0\7\0\0\0\0\0\1\0\0",  # a truncated frame
    ],
)
def test_unexpected_response_is_unhealthy(response: bytes) -> None:
    with respond_with(response) as port:
        assert run_probe(port)


def test_serving_response_is_healthy() -> None:
    with respond_with(b"\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08\1") as port:
        assert run_probe(port) == ""
