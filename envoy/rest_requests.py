"""Lua filters that adapt REST calls to the transcoder. Each route enables the filters that it needs."""

from envoy.extension import Config, extension, to_any
from envoy.names import CUSTOM_METHOD, HEAD, JSON_LINES

# Envoy would send the body of the response to a HEAD request, which is not valid in HTTP. The headers stay as they are.
_ANSWER_HEAD = """
function envoy_on_request(handle)
  handle:headers():replace(":method", "GET")
end

function envoy_on_response(handle)
  for chunk in handle:bodyChunks() do chunk:setBytes("") end
end
"""
_UNESCAPE_COLON = """
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":path", (headers:get(":path"):gsub("^([^?]*)%%3[aA](%a+%f[?%z])", "%1:%2")))
end
"""
# The transcoder sets application/json for a stream too. An error is a single JSON document.
_SET_CONTENT_TYPE = """
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") == "200" then headers:replace("content-type", "application/x-ndjson") end
end
"""


def head_filter() -> Config:
    """Returns the filter that answers HEAD as GET. It must precede the compressor, which writes to an empty body."""
    return _lua(HEAD, _ANSWER_HEAD)


def custom_method_filter() -> Config:
    """Returns the filter that unescapes the colon of a custom method, as in `/v1/patients/ID%3Aundelete`."""
    return _lua(CUSTOM_METHOD, _UNESCAPE_COLON)


def json_lines_filter() -> Config:
    """Returns the filter that sets the content type of a stream. It must follow the compressor, which delays data."""
    return _lua(JSON_LINES, _SET_CONTENT_TYPE)


def enable_lua(*names: str) -> Config:
    """Returns the options of a route that enable Lua filters."""
    enabled = to_any("envoy.config.route.v3.FilterConfig", config=to_any("filters.http.lua.v3.LuaPerRoute"))
    return dict.fromkeys(names, enabled)


def _lua(name: str, script: str) -> Config:
    source = {"inline_string": script}
    return extension(name, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}
