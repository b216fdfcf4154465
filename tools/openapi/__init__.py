"""The OpenAPI description of the REST door, made from the protos."""
