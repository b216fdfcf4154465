"""The pages that the gateway serves itself, to anyone: the description of the REST door, and a page to read it on."""

from pathlib import Path

from envoy.extension import Config, extension, typed

DESCRIPTION = "/openapi.json"
PAGE = "/docs/"

SITE_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",  # the icons in Swagger UI's style sheet
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What the page may do: load what is beside it, and call the gateway that it came from."""

_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}


_THREAD = {"thread_pool": {"thread_count": 1}}
_HEADERS_FILTER = "envoy.filters.http.header_mutation"
_FILES_FILTER = "envoy.filters.http.file_server"


def site_filters() -> list[Config]:
    """Returns the filters that answer with files. Only routes with what site_files says have them."""
    headers = extension(_HEADERS_FILTER, "filters.http.header_mutation.v3.HeaderMutation")
    files = extension(_FILES_FILTER, "filters.http.file_server.v3.FileServerConfig", manager_config=_THREAD)
    return [{**headers, "disabled": True}, {**files, "disabled": True}]


def site_files(folder: Path) -> Config:
    """Returns what makes a route answer with the files of a folder, if it has them, and the headers that those need.

    The filter's answers are neither an upstream's nor the gateway's own: a route's headers would pass them by.
    """
    add = [
        {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for name, value in SITE_HEADERS.items()
    ]
    return {
        _HEADERS_FILTER: typed(
            "filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={"response_mutations": add}
        ),
        _FILES_FILTER: typed(
            "filters.http.file_server.v3.FileServerConfig",
            manager_config=_THREAD,
            path_mappings=[{"request_path_prefix": "/", "file_path_prefix": f"{folder}/"}],
            content_types=_CONTENT_TYPES,
            directory_behaviors=[{"default_file": "index.html"}],
        ),
    }
