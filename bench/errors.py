"""The errors of the benchmark."""


class BenchError(Exception):
    """Raised when the benchmark cannot run or a measured call fails. The text says why."""
