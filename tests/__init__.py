"""Sets environment variables before other test modules are imported."""

import os
import sys

# Tests fork server processes while gRPC threads are running, and gRPC's fork handlers would crash some of them. The
# variable is read when grpc is imported. Therefore conftest.py loads pytest-grpc, after this module.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Some environments, such as containers, disable bytecode files. The tests start hundreds of Python programs. Without
# bytecode files, each compiles all its imports, which takes a service longer than the rest of its start-up.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
