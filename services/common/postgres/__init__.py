"""Postgres: connections, migrations, idempotency, journals and pages."""
