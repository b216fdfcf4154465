"""Imports or exports patients of the running instance: `python -m tools.transfer PROGRAM COMMAND FILE [OPTION...]`.

PROGRAM is the command-line tool of clients/python, and COMMAND is `import` or `export`. It logs in as the first admin
with the initial password, or as the user that PULSETRACK_EMAIL and PULSETRACK_PASSWORD name.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory

from deploy.errors import StartError
from deploy.settings import HOST, Settings
from tools.local.data_folder import State


def main(program: str, *arguments: str) -> int:
    """Returns the exit code of the command, or 1 after a one-line error."""
    try:
        settings = Settings.read()
        folder = settings.data_dir
        state = State.read(folder)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    if state is None:
        print(f"No instance is running in the data folder {folder}.", file=sys.stderr)
        return 1
    password = (folder / "secrets" / "admin-password").read_text(encoding="utf-8")
    variables = {
        "PULSETRACK_URL": f"http://{HOST}:{state.gateway_port}",
        "PULSETRACK_EMAIL": settings.admin_email,
        "PULSETRACK_PASSWORD": password,
    }
    with TemporaryDirectory() as session:
        return _run(program, arguments, {**variables, **os.environ, "XDG_CONFIG_HOME": session})


def _run(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    def run(*command: str) -> int:
        return subprocess.run([program, *command], env=environment, check=False).returncode

    if code := run("login"):
        return code
    try:
        return run(*arguments)
    except KeyboardInterrupt:
        return 130  # the command has received Ctrl-C too
    finally:
        run("logout")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
