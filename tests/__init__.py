"""The tests, of which this module is imported first."""

import os
import sys

# Servers are started, by fork, while gRPC's threads are at work: its fork handlers would crash some of them. The
# variable is read when grpc is imported, which is why conftest.py loads pytest-grpc, and not pytest itself before it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Some environments forbid bytecode (containers often do). The tests start hundreds of Python programs, and each would
# compile all its imports again, which takes a service longer than the rest of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
