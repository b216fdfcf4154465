"""Events: the transactional outbox, and Kafka topics with their producers and consumers."""
