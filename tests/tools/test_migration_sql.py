"""The SQL of the migrations, which squawk checks."""

from services.common.protobuf.contract import SERVICES
from tools.migration_sql import OUTPUT, find_migrations, print_migration, read_excluded


def test_excluded_files_are_those_of_existing_migrations() -> None:
    paths = {str(OUTPUT / name / f"{each.stem}.sql") for name in SERVICES for each in find_migrations(name)}
    assert set(read_excluded()) <= paths


def test_migration_is_printed_with_its_lock_timeout() -> None:
    newest = find_migrations("billing")[-1]
    sql = print_migration("billing", newest)
    assert sql.startswith("SET lock_timeout")
    assert f"version_num='{newest.name[:4]}'" in sql
