"""The context of the current call. Tasks that a call starts inherit these values."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import Message
from grpc import StatusCode

from services.common.errors import Failure

_SEES_ALL = frozenset({"ADMIN", "SERVICE"})
"""The roles of callers that see restricted data without being granted access."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a verified token identifies."""

    id: str
    """The id of a user or machine client, or the client id of a service."""
    role: str
    """"USER", "ADMIN", "CLIENT" or "SERVICE"."""
    expires: float
    """The expiration time of the token, in seconds since the epoch."""
    key_id: str = ""
    """The id of the key that signed the token."""
    token_version: int = 0
    """The version of the user's tokens that this token belongs to. Auth revokes lower versions."""
    session_id: str = ""
    """The id of the user's session, or of the client's secret. Empty for services."""
    scopes: frozenset[str] = frozenset()
    """The scopes of a machine client. Empty for all others."""
    is_external: bool = False
    """Whether an external issuer manages the user. Auth then has no row of the user."""


class Outcome(NamedTuple):
    """How a call ended, for the log, the trace, the metrics and the audit. The interceptor `Outcomes` computes it."""

    code: StatusCode
    """The status of the call: INTERNAL for an unexpected exception, CANCELLED if the client disconnected."""
    failure: Failure | None
    """The Failure that ended the call, if one did."""
    seconds: float
    """The duration of the call."""


current_request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request id, as in the header x-request-id. Empty outside of a call."""

current_traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The current trace and span (W3C Trace Context). Empty if there is none."""

current_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""The caller, or None for a call without a token."""

current_request: ContextVar[Message | None] = ContextVar("request", default=None)
"""The request message, once the caller is authorized and the message is parsed."""

current_time_left: ContextVar[Callable[[], float | None]] = ContextVar("time_left", default=lambda: None)
"""Returns the seconds until the call's deadline, or None if it has none."""


def current_viewer() -> str | None:
    """Returns the id of the caller if its access to restricted data is limited, or None if the caller sees all data.

    Only admins and services see all data. Without a caller, it is the empty string, which no caller has.
    """
    caller = current_caller.get()
    if caller is None:
        return ""
    return None if caller.role in _SEES_ALL else caller.id
