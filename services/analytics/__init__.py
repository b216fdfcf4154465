"""The analytics service: stores each patient event once, and computes statistics."""
