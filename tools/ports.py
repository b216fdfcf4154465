"""TCP ports on 127.0.0.1."""

import errno
import random
import socket
from collections.abc import Container

from deploy.settings import HOST

# Below the ranges from which systems take the ports of outgoing connections: one of those could hold a port that a
# part wants back after its restart.
_CHOICE = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Tells whether a server could listen on the port now. Raises PermissionError if this user may not use it."""
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


def free_port(avoid: Container[int] = ()) -> int:
    """Returns a port that nothing listens on and that is not in `avoid`."""
    return next(port for port in random.sample(_CHOICE, len(_CHOICE)) if port not in avoid and is_free(port))
