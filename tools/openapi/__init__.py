"""Generates the OpenAPI description of the REST API from the protos."""
