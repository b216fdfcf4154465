"""The contract that the protos declare, and the codec of its messages."""
