"""Generates the configuration of the gateway, Envoy 1.40 in front of the four services, from the protos."""
