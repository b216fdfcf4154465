"""Provides a running copy of the system for contract tests."""

from tests.e2e.conftest import admin, system, user

__all__ = ["admin", "system", "user"]
