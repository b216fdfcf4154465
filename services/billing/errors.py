"""The errors of the billing service."""

from grpc import StatusCode as Code

from services.common.errors import Failure


class BillingAccountNotFound(Failure):
    """Raised when a billing account does not exist."""

    code = Code.NOT_FOUND
    reason = "BILLING_ACCOUNT_NOT_FOUND"
    message = "The billing account does not exist."
