"""Writes the gateway's configuration from the contract: Envoy 1.40, in front of the four services."""
