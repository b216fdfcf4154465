"""The endpoints of OAuth 2.0 (RFC 6749): form-encoded requests, and the members `error` and `error_description`."""

from pathlib import Path

from envoy.extension import Config, extension, to_any
from envoy.names import OAUTH
from services.common.protobuf.contract import Method

FORM_CONTENT = "application/x-www-form-urlencoded"

ERRORS = {
    "INVALID_CREDENTIALS": "invalid_client",
    "GRANT_TYPE_UNSUPPORTED": "unsupported_grant_type",
    "SCOPE_INVALID": "invalid_scope",
    "RATE_LIMITED": "temporarily_unavailable",
    "DEPENDENCY_UNAVAILABLE": "temporarily_unavailable",
    "CALL_TOO_SLOW": "temporarily_unavailable",
    "INTERNAL": "server_error",
}
"""The value of `error` by reason. All other reasons are of invalid requests."""

INVALID_REQUEST = "invalid_request"


def oauth_filter() -> Config:
    """Returns the filter, which is disabled. `oauth_options` enables it for a route."""
    errors = "".join(f'{reason} = "{error}",' for reason, error in ERRORS.items())
    script = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
    source = {"inline_string": f'local ERRORS, INVALID_REQUEST = {{{errors}}}, "{INVALID_REQUEST}"\n{script}'}
    return extension(OAUTH, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def oauth_options(method: Method) -> Config:
    """Returns the options of a REST route that enable the filter, if the method is an OAuth endpoint."""
    if not method.is_oauth_endpoint:
        return {}
    fields = f"|{'|'.join(field.json_name for field in method.input.DESCRIPTOR.fields)}|"
    return {OAUTH: to_any("filters.http.lua.v3.LuaPerRoute", filter_context={"fields": fields})}
