"""The tests, of which this module is imported first."""

import os

# Servers are started, by fork, while gRPC's threads are at work: its fork handlers would crash some of them. The
# variable is read when grpc is imported, which is why conftest.py loads pytest-grpc, and not pytest itself before it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
