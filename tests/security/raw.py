"""Raw HTTP requests that HTTP libraries would normalize or refuse to send."""

import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple

from deploy.settings import HOST
from tools.instance import Instance


class Response(NamedTuple):
    """A response of the gateway."""

    status: int
    reason: str
    """The reason of an error, or an empty string."""


def send(system: Instance, verb: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """Sends a request with an unnormalized path, on a new connection."""
    connection = HTTPConnection(HOST, system.port, timeout=20)
    try:
        connection.putrequest(verb, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    ok = response.status < 400
    return Response(response.status, "" if ok else json.loads(content)["details"][0]["reason"])


def open_connection(system: Instance, first: bytes = b"") -> socket.socket:
    """Connects to the gateway and sends the first bytes of a request."""
    connection = socket.create_connection((HOST, system.port), timeout=20)
    connection.sendall(first)
    return connection
