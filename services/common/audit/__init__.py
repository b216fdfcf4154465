"""The audit: an access event for every call that reads or changes personal data, chained by seals."""
