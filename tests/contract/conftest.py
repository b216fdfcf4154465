"""A whole system to hold against the contract, as `make up` runs it."""

from tests.e2e.conftest import admin, system, user

__all__ = ["admin", "system", "user"]
