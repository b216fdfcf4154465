"""The health check of the containers, as an engine runs it: a script, against a real service."""

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
from tests.common.conftest import Frail
from tests.harness.background import Background
from tests.harness.services import serve_service
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tools.ports import free_port


def probed(port: int) -> str:
    """Runs the health check, and returns what it has against the service: nothing if all is well."""
    told = os.environ | {"PULSETRACK_LISTEN": f"0.0.0.0:{port}"}
    script = [sys.executable, "-I", "-S", str(probe.__file__)]
    done = subprocess.run(script, check=False, env=told, capture_output=True, text=True)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr.strip()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Has a server give one caller these bytes, whatever he asks, and hang up; yields its port."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        done = thread.submit(serve)
        yield server.getsockname()[1]
        done.result()


def test_a_service_that_serves_is_healthy_and_one_without_its_database_is_not(
    background: Background, signer: Signer, frail: Frail
) -> None:
    with background.during(serve_service("billing", frail.url, TokenVerifier(signer.trust))) as port:
        assert probed(port) == ""
        frail.kill()
        eventually(lambda: probed(port) == "The service is not serving.")
        frail.start()
        eventually(lambda: probed(port) == "")


def test_a_port_on_which_nothing_listens_is_not_healthy() -> None:
    assert "Connection refused" in probed(free_port())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x08\7\0\0\0\0\0" + bytes(8),  # settings, and GOAWAY
        b"\0\0\1\1\5\0\0\0\1\x88",  # headers without an answer: a refusal
        b"\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08\2",  # NOT_SERVING
        b"\0\0\7\0\0\0\0\0\1\0\0",  # a frame that breaks off
    ],
)
def test_another_answer_is_not_taken_for_health(answer: bytes) -> None:
    with answering(answer) as port:
        assert probed(port)


def test_the_answer_of_health_is_health() -> None:
    with answering(b"\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08\1") as port:
        assert probed(port) == ""
