"""Programs for developers: the local supervisor, its status, and the protos' build."""
