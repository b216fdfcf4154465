"""A local system behind PgBouncer in transaction mode: `python -m tests.e2e.pooled`, like `python -m tools.local`."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deploy.settings import HOST
from tools.local import __main__ as local
from tools.local.checks import is_listening
from tools.local.part import Part, Step
from tools.local.process import Command
from tools.local.system import System

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
"""None if the Debian package pgbouncer is not installed."""

_NAME = "pgbouncer"
_URL = "PULSETRACK_DATABASE_URL_FILE"

# The processes share two connections for each database, which is less than any of them opens.
_CONFIGURATION = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 2
auth_type = scram-sha-256
auth_file = {users}
server_login_retry = 0.1
user = {account}
"""


class _PooledSystem(System):
    def port_names(self) -> list[str]:
        return [*super().port_names(), _NAME]

    def nodes(self) -> Iterator[Part | Step]:
        users = ""
        for node in super().nodes():
            if not (isinstance(node, Part) and _URL in node.command.environment):
                yield node
                continue
            url = Path(node.command.environment[_URL]).read_text(encoding="utf-8")
            pooled = url.replace(f":{self._port('postgres')}/", f":{self._port(_NAME)}/")
            file = self._folder.secret(f"{node.name}-pooled-database-url", pooled, keep=False)
            parts = urlsplit(url)
            users += f'"{parts.username}" "{unquote(parts.password or "")}"\n'
            environment = {**node.command.environment, _URL: str(file), "PULSETRACK_PREPARED_STATEMENTS": "off"}
            command = replace(node.command, environment=environment)
            yield replace(node, command=command, needs=(*node.needs, _NAME))
        yield self._pgbouncer(users)

    def _pgbouncer(self, users: str) -> Part:
        text = _CONFIGURATION.format(
            host=HOST,
            server_port=self._port("postgres"),
            port=self._port(_NAME),
            users=self._folder.secret("pgbouncer-users", users, keep=False),
            account="nobody" if os.geteuid() == 0 else "",
        )
        file = self._folder.secret("pgbouncer.ini", text, keep=False)
        return Part(
            name=_NAME,
            command=Command(argv=(str(PROGRAM), str(file))),
            ready=partial(is_listening, HOST, self._port(_NAME)),
            needs=("postgres",),
        )


if __name__ == "__main__":
    local.System = _PooledSystem  # type: ignore[attr-defined]
    sys.exit(local.main())
