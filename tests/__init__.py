"""The tests, of which this module is imported first."""

import os

# Servers are started, by fork, while gRPC's threads are at work: its fork handlers would crash some of them. It is read
# when grpc is imported, so pytest-grpc is loaded by conftest.py, and not by pytest before it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
