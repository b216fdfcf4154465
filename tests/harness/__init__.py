"""Test infrastructure: background event loop, servers, tokens, and gRPC clients."""
