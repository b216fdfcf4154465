"""Keeps patient records."""
