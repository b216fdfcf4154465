"""The longest bodies that the gateway takes and makes."""

from envoy.extension import Config, extension
from envoy.names import PUBLIC_BODY
from services.common.protobuf.contract import MAX_MESSAGE_BYTES

_FRAME_HEADER = 5
MAX_BODY = MAX_MESSAGE_BYTES + _FRAME_HEADER
"""The longest body: the longest message, in bytes, and what gRPC writes before it."""
MAX_PUBLIC_BODY = 16 * 1024
"""The longest body of a call that needs no token: any client may make it, and it carries credentials at most."""
MAX_ANSWER = 16 * 1024 * 1024
"""The longest answer in JSON, whose bytes are several times those of the message."""


def public_body_filter() -> Config:
    """Returns the filter that refuses a body longer than MAX_PUBLIC_BODY. Routes that need a token switch it off."""
    return extension(PUBLIC_BODY, "filters.http.body_size_limit.v3.BodySizeLimit", max_request_bytes=MAX_PUBLIC_BODY)
