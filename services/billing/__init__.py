"""The billing service: one billing account for each patient."""
