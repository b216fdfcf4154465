"""Writes the SQL of the migrations to `build/migrations`, for squawk: `python -m tools.migration_sql`.

Each migration is printed without a database. The migrations that `.squawk.toml` excludes are left out.
"""

import io
import shutil
import sys
import tomllib
from pathlib import Path

from alembic import command

from services.common.postgres.migrate import configure_alembic
from services.common.protobuf.contract import SERVICES

ROOT = Path(__file__).resolve().parents[1]
CONFIGURATION = ROOT / ".squawk.toml"
OUTPUT = Path("build", "migrations")


def read_excluded(configuration: Path = CONFIGURATION) -> list[str]:
    """Returns the paths of SQL files that squawk does not check, relative to the root."""
    excluded: list[str] = tomllib.loads(configuration.read_text(encoding="utf-8"))["excluded_paths"]
    return excluded


def find_migrations(service: str) -> list[Path]:
    """Returns the migrations of a service in their order."""
    return sorted((ROOT / "services" / service / "migrations").glob("[0-9]*.py"))


def print_migration(service: str, migration: Path) -> str:
    """Returns the SQL of a migration. Raises any error of a migration that reads data."""
    revision = migration.name[:4]
    config = configure_alembic(service)
    config.output_buffer = output = io.StringIO()
    before = f"{int(revision) - 1:04}" if int(revision) > 1 else "base"
    command.upgrade(config, f"{before}:{revision}", sql=True)
    return output.getvalue()


def main() -> None:
    """Writes a file for each migration. Exits with a one-line error if one cannot be printed."""
    excluded = set(read_excluded())
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
    for service in SERVICES:
        for migration in find_migrations(service):
            path = OUTPUT / service / f"{migration.stem}.sql"
            if str(path) in excluded:
                continue
            try:
                sql = print_migration(service, migration)
            except Exception as error:  # noqa: BLE001 - a migration can raise any
                sys.exit(f"{path} cannot be printed, because its migration reads data: {error!r}")
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(sql, encoding="utf-8")


if __name__ == "__main__":
    main()
