"""Asks this container's service whether it serves: a health check that a container engine runs every few seconds.

It is a script on the standard library alone, run as `python -I -S deploy/probe.py`: to import grpc would cost
many times as much as the check. So it writes one call of grpc.health.v1.Health/Check as HTTP/2 frames.
"""

import os
import socket
import struct
import sys
from io import BufferedReader

_SECONDS = 2

_FRAME = struct.Struct(">BHBBL")
"""A frame's head: its length (24 bits), type, flags and stream (RFC 9113, 4.1)."""
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_END_STREAM, _END_HEADERS = 1, 4

_MESSAGE = b"\0\0\0\0\0"  # not compressed, of no bytes: an empty HealthCheckRequest, which asks for the whole server
_SERVING = b"\0\0\0\0\2\x08\x01"


def main() -> None:
    """Exits with 0 if the service at PULSETRACK_LISTEN's port serves, or else with 1 and a sentence."""
    port = int(os.environ["PULSETRACK_LISTEN"].rpartition(":")[2])
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection, connection.makefile("rb") as answer:
            connection.sendall(_request())
            if not _serving(answer):
                sys.exit("it does not serve")
    except OSError as error:
        sys.exit(f"it cannot be asked: {error}")


def _request() -> bytes:
    path, kind = b"/grpc.health.v1.Health/Check", b"application/grpc"
    # Pairs that HPACK's static table has are one byte, names that it has are a number, texts follow their length.
    headers = b"\x83\x86\x01\x09localhost\x04%c%b\x0f\x10%c%b\x00\x02te\x08trailers" % (
        len(path),
        path,
        len(kind),
        kind,
    )
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, headers),
            _frame(_DATA, _END_STREAM, 1, _MESSAGE),
        )
    )


def _serving(answer: BufferedReader) -> bool:
    """Reads frames up to the first that decides."""
    while len(head := answer.read(_FRAME.size)) == _FRAME.size:
        high, low, kind, flags, stream = _FRAME.unpack(head)
        payload = answer.read(high << 16 | low)
        if kind == _DATA:
            return payload == _SERVING
        if kind == _GOAWAY or (stream and flags & _END_STREAM):
            return False
    return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


if __name__ == "__main__":
    main()
