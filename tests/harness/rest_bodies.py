"""Bodies of REST calls."""

from services.common.protobuf.contract import FHIR_CONTENT, LINES, Http, Method


def content_type(method: Method, http: Http) -> dict[str, str]:
    """Returns the header with the content type of a method's body, for an empty JSON object as the body."""
    if not http.body:
        return {}
    raw = FHIR_CONTENT if method.is_fhir else LINES
    return {"content-type": raw if method.takes_raw_body(http) else "application/json"}
