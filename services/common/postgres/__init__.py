"""Postgres: connections, migrations, privileges, idempotency, journals and pagination."""
