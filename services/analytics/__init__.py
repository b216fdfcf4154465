"""Stores each patient event once, and counts."""
