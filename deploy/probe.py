"""Checks the health of the service in this container. The container engine runs it every few seconds.

The script runs as `python -I -S deploy/probe.py` and uses only the standard library, because importing grpc would take
many times as long as the check. It writes a call of grpc.health.v1.Health/Check as HTTP/2 frames. If the service has a
certificate, the check uses it as the client's.
"""

import os
import socket
import struct
import sys
from io import BufferedReader
from pathlib import Path

_SECONDS = 2

_FRAME = struct.Struct(">BHBBL")
"""The header of a frame: length (24 bits), type, flags and stream (RFC 9113, section 4.1)."""
HEADER_BYTES = _FRAME.size
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_END_STREAM, _END_HEADERS = 1, 4

_MESSAGE = b"\0\0\0\0\0"  # an uncompressed, empty HealthCheckRequest, which checks the server as a whole
_SERVING = b"\0\0\0\0\2\x08\x01"


def main() -> None:
    """Exits with 0 if the service at the port of PULSETRACK_LISTEN is serving, and with 1 and an error otherwise."""
    port = int(os.environ["PULSETRACK_LISTEN"].rpartition(":")[2])
    try:
        with (
            _connect(port) as connection,
            connection.makefile("rb") as response,
        ):
            connection.sendall(build_request())
            if not _is_serving(response):
                sys.exit("The service is not serving.")
    except OSError as error:
        sys.exit(f"The health check failed: {error}")


def _connect(port: int) -> socket.socket:
    """Returns a connection to the service, with TLS if the service has a certificate. Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), _SECONDS)
    certificate, key, authorities = (_read_setting(name) for name in ("CERTIFICATE", "KEY", "CA"))
    if not certificate:
        return connection
    import ssl  # noqa: PLC0415 - doubles the time of a check without TLS

    context = ssl.create_default_context(cadata=authorities)
    context.check_hostname = False  # the address is that of this container
    context.set_alpn_protocols(["h2"])
    with open(os.memfd_create("identity"), "w+", encoding="ascii") as file:  # noqa: PTH123 - ssl reads only files
        file.write(certificate + "\n" + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context.wrap_socket(connection)


def _read_setting(name: str) -> str:
    """Returns a setting of TLS, from a variable or from the file that a variable names."""
    path = os.environ.get(f"PULSETRACK_TLS_{name}_FILE")
    return Path(path).read_text(encoding="ascii") if path else os.environ.get(f"PULSETRACK_TLS_{name}", "")


def build_request() -> bytes:
    """Returns the call, from the beginning of its connection."""
    path, kind = b"/grpc.health.v1.Health/Check", b"application/grpc"
    # HPACK encodes pairs of its static table as one byte, and names as a number. Strings follow their length.
    headers = b"\x83\x86\x01\x09localhost\x04%c%b\x0f\x10%c%b\x00\x02te\x08trailers" % (
        len(path),
        path,
        len(kind),
        kind,
    )
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _build_frame(_SETTINGS, 0, 0, b""),
            _build_frame(_HEADERS, _END_HEADERS, 1, headers),
            _build_frame(_DATA, _END_STREAM, 1, _MESSAGE),
        )
    )


def parse_header(header: bytes) -> tuple[int, int, int, int]:
    """Returns the length, type, flags and stream of a frame, from its header."""
    high, low, kind, flags, stream = _FRAME.unpack(header)
    return high << 16 | low, kind, flags, stream


def find_status(kind: int, flags: int, stream: int, payload: bytes) -> bool | None:
    """Returns whether the service is serving. None if this frame of the response does not determine it."""
    if kind == _DATA:
        return payload == _SERVING
    if kind == _GOAWAY or (stream and flags & _END_STREAM):
        return False
    return None


def _is_serving(response: BufferedReader) -> bool:
    """Reads frames until one determines the status."""
    while len(header := response.read(HEADER_BYTES)) == HEADER_BYTES:
        length, kind, flags, stream = parse_header(header)
        status = find_status(kind, flags, stream, response.read(length))
        if status is not None:
            return status
    return False


def _build_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


if __name__ == "__main__":
    main()
