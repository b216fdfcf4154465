"""The audit log: an access event for every call that reads or changes personal data, sealed in a hash chain."""
