"""Load on a running gateway: calls at a rate or so many at a time, and what they took."""
