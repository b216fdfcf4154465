"""An empty grpc.aio server, the floor of every call of a Python gRPC service: `python -m bench.echo PORT`."""

import sys

import grpc
import uvloop

from deploy.settings import HOST

METHOD = "/bench.Echo/Echo"


def command(port: int) -> tuple[str, ...]:
    """Returns the command that runs the server on a port."""
    return (sys.executable, "-m", "bench.echo", str(port))


async def _echo(request: bytes, _: object) -> bytes:
    return request


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
