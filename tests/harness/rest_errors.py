"""Reads the errors of REST responses: a google.rpc.Status, or an OperationOutcome of the FHIR API."""

from typing import Any

import httpx
from google.protobuf.json_format import ParseDict
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

FHIR = "/fhir/R4/"
_OAUTH_MEMBERS = {"error", "error_description"}
_CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    409: Code.ALREADY_EXISTS,
    412: Code.ABORTED,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
}


def read_issue(response: httpx.Response) -> tuple[str, str]:
    """Returns the reason and the text of an OperationOutcome with one issue, after checking its format."""
    assert response.headers["content-type"] == "application/fhir+json"
    outcome: dict[str, Any] = response.json()
    assert set(outcome) == {"resourceType", "issue"}
    assert outcome["resourceType"] == "OperationOutcome"
    [issue] = outcome["issue"]
    [coding] = issue["details"]["coding"]
    assert (issue["severity"], coding["system"]) == ("error", "urn:pulsetrack:reason")
    return coding["code"], issue["details"]["text"]


def read_status(response: httpx.Response) -> Status:
    """Returns the status in an error. That of an OAuth endpoint has two more members.

    The status of an OperationOutcome has no violations.
    """
    if not response.request.url.path.startswith(FHIR):
        return ParseDict({key: value for key, value in response.json().items() if key not in _OAUTH_MEMBERS}, Status())
    reason, text = read_issue(response)
    status = Status(code=_CODES[response.status_code], message=text)
    status.details.add().Pack(ErrorInfo(reason=reason, domain="pulsetrack"))
    return status


def read_reason(response: httpx.Response) -> str:
    """Returns the reason of an error."""
    info = ErrorInfo()
    assert read_status(response).details[0].Unpack(info)
    return str(info.reason)
