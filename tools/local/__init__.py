"""The whole system on this machine, without docker: `python -m tools.local`, or `make up`."""
