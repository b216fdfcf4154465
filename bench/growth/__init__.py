"""Measures how the latency of reads grows with the number of rows."""
