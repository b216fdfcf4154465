"""A whole system, as `make up` runs it, and the tools that people bring."""

from tests.e2e.conftest import system

__all__ = ["system"]
