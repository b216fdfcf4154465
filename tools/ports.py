"""TCP ports for local servers, with reservations that prevent other processes from choosing the same port."""

import errno
import random
import socket
import sys
from collections.abc import Container
from typing import Self

from deploy.settings import HOST

# Below the ranges that operating systems use for outgoing connections. Such a connection could occupy the port of a
# server that restarts.
_CHOICE = range(20_000, 30_000)


class Reservation:
    """A port that no other process takes from `free_port` or reserves, from now until the reservation is closed.

    The reservation is the name of a Unix socket in Linux' abstract namespace, which the kernel releases with the
    process. The port itself stays free, so a server can listen on it. On other platforms nothing is reserved.
    """

    def __init__(self, port: int) -> None:
        """Reserves the port. Raises OSError if it is already reserved."""
        self.port = port
        self._name = socket.socket(socket.AF_UNIX)
        if sys.platform == "linux":
            try:
                self._name.bind(f"\0pulsetrack-port-{port}")
            except OSError:
                self._name.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the port."""
        self._name.close()


def is_free(port: int) -> bool:
    """Returns whether a server could listen on the port. Raises PermissionError if this user may not use the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def reserve(port: int) -> Reservation | None:
    """Reserves a port. Returns None if the port is in use or reserved."""
    try:
        reservation = Reservation(port)
    except OSError:
        return None
    if is_free(port):
        return reservation
    reservation.close()
    return None


def reserve_free_port(avoid: Container[int] = ()) -> Reservation:
    """Reserves a random port that is neither in use nor in `avoid`."""
    for port in random.sample(_CHOICE, len(_CHOICE)):
        if port not in avoid and (reservation := reserve(port)):
            return reservation
    raise RuntimeError(f"no port of {_CHOICE} is free")


def free_port() -> int:
    """Returns a random port that is neither in use nor reserved."""
    with reserve_free_port() as reservation:
        return reservation.port
