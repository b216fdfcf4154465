"""Keeps one billing account for each patient."""
