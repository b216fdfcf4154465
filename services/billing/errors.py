"""What billing refuses."""

from grpc import StatusCode as Code

from services.common.errors import Failure


class BillingAccountNotFound(Failure):
    """Occurs when there is no such account."""

    code = Code.NOT_FOUND
    reason = "BILLING_ACCOUNT_NOT_FOUND"
    message = "There is no such billing account."
