"""The program that runs a statement for an operator."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(new_database: Callable[[str], str]) -> Run:
    """Runs the program on a database of billing."""
    variables = os.environ | {"PULSETRACK_DATABASE_URL": new_database("billing")}

    def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.common.postgres.query", *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    return run_program


def test_rows_are_printed_as_json(run: Run) -> None:
    ended = run("SELECT 1 AS number, 'é' AS letter, timestamptz '2026-01-31 00:00:00Z' AS time")
    assert ended.stdout == ('{"number": 1, "letter": "\\u00e9", "time": "2026-01-31 00:00:00+00:00"}\nSELECT 1\n')


def test_statement_changes_data_only_with_the_option(run: Run) -> None:
    statement = "CREATE TABLE created AS SELECT 1 AS number"
    rejected = run(statement)
    assert rejected.returncode == 1
    assert rejected.stderr == "The statement failed: cannot execute CREATE TABLE AS in a read-only transaction\n"
    assert run(statement, "--write").stdout == "SELECT 1\n"
    assert run("SELECT number FROM created").stdout == '{"number": 1}\nSELECT 1\n'
