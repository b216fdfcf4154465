"""Errors of the load generator."""


class LoadError(Exception):
    """Raised when no load can be generated. The text is shown to the user."""
