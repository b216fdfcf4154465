"""Runs the whole system on this machine, without Docker: `python -m tools.local`, or `make up`."""
