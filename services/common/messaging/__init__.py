"""Events: the outbox, and Kafka."""
