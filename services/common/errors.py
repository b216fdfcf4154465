"""Errors that a call returns, in the model of google.rpc (AIP-193): a code, a reason, a message and details."""

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode as Code

DOMAIN = "pulsetrack"


class Failure(Exception):  # noqa: N818 - a rejection is a response, not a bug
    """An error that the client receives. Handlers raise it, and the interceptor `Errors` converts it into a status."""

    code: ClassVar[Code]
    reason: ClassVar[str]
    message: ClassVar[str]
    retry_after: int | None = None
    """The number of seconds after which a retry may succeed, if known."""

    def __init__(self, **metadata: str) -> None:
        super().__init__(self.message)
        self.metadata = metadata

    def details(self) -> list[Message]:
        """Returns the details of the status, except for the request id."""
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        return [info] if self.retry_after is None else [info, retry_info(self.retry_after)]

    def status(self, request_id: str) -> Status:
        """Returns the google.rpc.Status that the client receives."""
        status = Status(code=self.code.value[0], message=self.message)
        for detail in (*self.details(), RequestInfo(request_id=request_id)):
            status.details.append(_pack(detail))
        return status


class FieldsInvalid(Failure):
    """Raised when fields of the request are invalid. The violations map field paths to messages."""

    code = Code.INVALID_ARGUMENT
    reason = "FIELDS_INVALID"
    message = "The request has invalid fields."

    def __init__(self, violations: Mapping[str, str]) -> None:
        super().__init__()
        self.violations = violations

    def details(self) -> list[Message]:
        """Adds a google.rpc.BadRequest with the violations."""
        violations = [BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations.items()]
        return [*super().details(), BadRequest(field_violations=violations)]


class MessageMalformed(FieldsInvalid):
    """Raised when the bytes of a request cannot be parsed as its message."""

    message = "The request is not a valid protobuf message."

    def __init__(self) -> None:
        super().__init__({})


class ValueRejected(FieldsInvalid):
    """Raised when the database cannot store or compare a value: it is out of range, or a text contains NUL."""

    message = "The request contains a value that is out of range."

    def __init__(self) -> None:
        super().__init__({})


class PageTokenInvalid(Failure):
    """Raised when a page token was modified, or belongs to a different query."""

    code = Code.INVALID_ARGUMENT
    reason = "PAGE_TOKEN_INVALID"
    message = "The page token is not valid for this query. Request the first page again."


class RequestIdReused(Failure):
    """Raised when a caller reuses a request id for a different request."""

    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"
    message = "The request id was already used for a different request. Use a new one."


class TokenMissing(Failure):
    """Raised when a call without a token requires one."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_MISSING"
    message = "This call requires an access token."


class TokenInvalid(Failure):
    """Raised when a token is expired, revoked, forged or issued for another audience."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_INVALID"
    message = "The access token is not valid."


class UserDisabled(Failure):
    """Raised when an admin has disabled the user whose credentials or token are presented."""

    code = Code.PERMISSION_DENIED
    reason = "USER_DISABLED"
    message = "The user is disabled."


class ScopeRequired(Failure):
    """Raised when the token of a machine client lacks the scope of the method, which the metadata names."""

    code = Code.PERMISSION_DENIED
    reason = "SCOPE_REQUIRED"
    message = "The access token does not have the scope that this method requires."


class RoleRequired(Failure):
    """Raised when the caller's role does not permit the call."""

    code = Code.PERMISSION_DENIED
    reason = "ROLE_REQUIRED"
    message = "The caller's role does not permit this call."


class RateLimited(Failure):
    """Raised when a client exceeds its rate limit, or all clients together exceed the capacity of a service."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    message = "Too many requests. Retry later."
    retry_after = 1


class ReaderTooSlow(Failure):
    """Raised when a stream's client does not read a response in time."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "READER_TOO_SLOW"
    message = "The client read the stream too slowly. Resume from the last response that was received."


class DependencyUnavailable(Failure):
    """Raised when the database or another service is unavailable. The call may be retried."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"
    message = "A dependency is unavailable. Retry later."
    retry_after: int | None = 1


class TransactionConflict(DependencyUnavailable):
    """Raised when the database rolled a transaction back because of a concurrent one. Nothing was changed."""

    code = Code.ABORTED
    reason = "TRANSACTION_CONFLICT"
    message = "The call conflicted with a concurrent one and changed nothing. Retry it."


class CallTooSlow(Failure):
    """Raised when a call exceeds its deadline, which the client or the gateway sets."""

    code = Code.DEADLINE_EXCEEDED
    reason = "CALL_TOO_SLOW"
    message = "The call exceeded its deadline. It may still have taken effect."


class DatabaseTooSlow(DependencyUnavailable):
    """Raised when the database cancels a statement or transaction that takes too long. Background work is retried."""

    code = CallTooSlow.code
    reason = CallTooSlow.reason
    message = CallTooSlow.message
    retry_after = None


class Internal(Failure):
    """Raised for a bug. The log contains the details under the request id."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    message = "An internal error occurred."


def retry_info(seconds: int) -> RetryInfo:
    """Returns a google.rpc.RetryInfo with a delay in seconds."""
    return RetryInfo(retry_delay=Duration(seconds=seconds))


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
