"""The gRPC server and client of the services."""
