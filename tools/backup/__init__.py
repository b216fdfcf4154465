"""Backups of all databases of the local system, and their restoration into an empty data folder."""
