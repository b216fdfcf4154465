"""Free and reserved ports."""

import socket
import subprocess
import sys

import pytest

from deploy.settings import HOST
from tools import ports
from tools.local.process import ROOT

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract Unix sockets")


@pytest.fixture
def two_ports(monkeypatch: pytest.MonkeyPatch) -> range:
    """Two neighboring free ports, to which the choice of ports is limited."""
    port = next(port for port in range(20_000, 30_000) if ports.is_free(port) and ports.is_free(port + 1))
    monkeypatch.setattr(ports, "_CHOICE", range(port, port + 2))
    return range(port, port + 2)


def test_port_in_use_is_not_chosen(two_ports: range) -> None:
    with socket.create_server((HOST, two_ports[0])):
        assert ports.free_port() == two_ports[1]
        assert ports.reserve(two_ports[0]) is None


@only_linux
def test_reserved_port_is_not_chosen_by_another_process(two_ports: range) -> None:
    code = (
        f"from tools import ports; ports._CHOICE = range(*{two_ports[0], two_ports[-1] + 1}); print(ports.free_port())"
    )
    with ports.reserve_free_port() as reservation:
        chosen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
        assert {reservation.port, int(chosen.stdout)} == set(two_ports)


@only_linux
def test_reserved_port_can_be_used_and_is_free_again_after_its_release(two_ports: range) -> None:
    with ports.reserve_free_port() as reservation:
        assert ports.reserve(reservation.port) is None
        with socket.create_server((HOST, reservation.port)):
            pass
    again = ports.reserve(reservation.port)
    assert again is not None
    again.close()
