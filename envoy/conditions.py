"""The ETag header of REST responses, and conditional requests (RFC 9110). Routes enable the filters."""

from pathlib import Path

from envoy.extension import Config, extension, to_any
from envoy.names import COMPRESSOR, CONDITION, ETAG_FIELD, ETAG_HEADER
from services.common.protobuf.contract import ETAG, Method

_SCRIPT = Path(__file__).with_suffix(".lua")
_NAMESPACE = "etag"
_READER = "filters.http.json_to_metadata.v3.JsonToMetadata"
_ON_PRESENT = {"metadata_namespace": _NAMESPACE, "key": ETAG}
_RULES: Config = {"response_rules": {"rules": [{"selectors": [{"key": ETAG}], "on_present": _ON_PRESENT}]}}
_TAG = r'(?:W/)?"[!#-~]*"'
CONDITIONS = rf"(?:[ \t]*,)*[ \t]*(?:\*|{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*)[ \t]*"
"""Allowed values of If-Match and If-None-Match: `*` or a list of etags, in which elements may be empty."""


def condition_filter() -> Config:
    """Returns the filter that answers a conditional request with 304 or 412.

    It must precede `etag_filters`, which set the header that it compares.
    """
    source = {"inline_string": _SCRIPT.read_text(encoding="utf-8")}
    return extension(CONDITION, "filters.http.lua.v3.Lua", default_source_code=source) | {"disabled": True}


def etag_filters() -> list[Config]:
    """Returns the filters that copy the etag in a JSON response to the ETag header, in quotes.

    They must precede the transcoder, which writes the JSON. An error has no etag, and gets no header.
    """
    mutations = [
        _set(f"%DYNAMIC_METADATA({_NAMESPACE}:{ETAG})%", "OVERWRITE_IF_EXISTS_OR_ADD"),  # not if it is empty
        _set(f'"%RESP({ETAG})%"', "OVERWRITE_IF_EXISTS"),
    ]
    header = "filters.http.header_mutation.v3.HeaderMutation"
    return [
        extension(ETAG_HEADER, header, mutations={"response_mutations": mutations}) | {"disabled": True},
        extension(ETAG_FIELD, _READER, **_RULES) | {"disabled": True},
    ]


def etag_options(method: Method) -> Config:
    """Returns the options of a REST route to a method: the ETag header, if its response has an etag.

    Compression would remove a strong etag.
    """
    if not method.returns_etag:
        return {}
    return {
        ETAG_HEADER: _route(config=to_any("filters.http.header_mutation.v3.HeaderMutationPerRoute")),
        ETAG_FIELD: _route(config=to_any(_READER, **_RULES)),  # Envoy rejects options without rules
        COMPRESSOR: _route(disabled=True),
    }


def _route(**fields: object) -> Config:
    return to_any("envoy.config.route.v3.FilterConfig", **fields)


def _set(value: str, action: str) -> Config:
    return {"append": {"header": {"key": ETAG, "value": value}, "append_action": action}}
