"""Deployment: the topology, the creation of databases, container health checks, and Docker Compose."""
