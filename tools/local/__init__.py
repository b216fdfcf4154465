"""Runs the whole system on this machine, without Docker: `python -m tools.local`, or `make up`."""

import time

START = time.monotonic()
"""The time at which this process started to import the program."""
