"""What analytics refuses."""

from grpc import StatusCode as Code

from services.common.errors import Failure


class DeadLetterNotFound(Failure):
    """Occurs when there is no such dead letter."""

    code = Code.NOT_FOUND
    reason = "DEAD_LETTER_NOT_FOUND"
    message = "There is no such dead letter."


class DeadLetterUnreplayable(Failure):
    """Occurs when a dead letter can still not be stored as an event."""

    code = Code.FAILED_PRECONDITION
    reason = "DEAD_LETTER_UNREPLAYABLE"
    message = "The message can still not be stored as an event. The dead letter says why."
