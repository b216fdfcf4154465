"""The patient service: patient records, their revisions and their events."""
