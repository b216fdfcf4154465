"""Requests that no well-behaved client would send."""

import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple

from deploy.settings import HOST
from tools.instance import Instance


class Answer(NamedTuple):
    """What the gateway says."""

    status: int
    reason: str
    """The reason in the error, empty if all is well."""


def send(system: Instance, verb: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends a request whose path nobody has made tidy, on a connection of its own."""
    connection = HTTPConnection(HOST, system.port, timeout=20)
    try:
        connection.putrequest(verb, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    ok = answer.status < 400
    return Answer(answer.status, "" if ok else json.loads(content)["details"][0]["reason"])


def connected(system: Instance, first: bytes = b"") -> socket.socket:
    """Connects to the gateway and sends the first bytes of a request."""
    connection = socket.create_connection((HOST, system.port), timeout=20)
    connection.sendall(first)
    return connection
