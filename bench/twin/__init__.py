"""The reference service of the benchmark: the patient path as a tuned FastAPI and SQLAlchemy service.

It performs the same work as PulseTrack for each request: verified token and role, validated input, the row with its
revision, outbox row, access event and idempotent response in one transaction, an access event for each read, an event
in Kafka, a billing account, and an analytics row. It shares no code with PulseTrack and runs in an environment of its
own. It is tuned: uvloop and httptools, two processes, one connection pool for each, reads without a transaction,
compiled statements from SQLAlchemy's cache, pydantic's serializer instead of FastAPI's, cached tokens, batched access
events, and deliveries in batches.
"""
