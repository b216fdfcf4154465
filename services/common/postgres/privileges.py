"""Privileges on tables, which each service declares for its own tables in `privileges.py`."""

from collections.abc import Mapping

READ_ONLY = "SELECT"
READ_WRITE = "SELECT, INSERT, UPDATE, DELETE"
APPEND_ONLY = "SELECT, INSERT"

Privileges = Mapping[str, str]
"""The privileges of the role that a service runs as, by table. The role has none on other tables."""
