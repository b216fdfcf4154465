"""Benchmarks of PulseTrack beside a reference service: `make bench`."""
