"""Runs a service as `python -m services.NAME` does, but imports it first and waits for a line on standard input.

The supervisor starts `python -m tools.local.preload services.NAME` while the database starts, because a service spends
most of its start on imports.
"""

import gc
import sys
from importlib import import_module


def main() -> None:
    """Imports the service that the command line names, and runs it after a line, or exits at the end of the input."""
    # betterproto2 imports pydantic if it finds it. Only development packages install it, and it takes 2 MiB.
    sys.modules["pydantic"] = None  # type: ignore[assignment]
    gc.disable()  # modules are no garbage, and collections would take an eighth of the time
    service, server = import_module(f"{sys.argv[1]}.__main__"), import_module("services.common.rpc.server")
    gc.freeze()
    gc.enable()
    if sys.stdin.readline():
        server.run(service.main)


if __name__ == "__main__":
    main()
