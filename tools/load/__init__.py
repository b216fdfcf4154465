"""Load generator for a running gateway: open-loop and closed-loop phases, latency percentiles and gates."""
