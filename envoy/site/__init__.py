"""Static files that require no authentication: the OpenAPI description, its reference page, and the web console."""

from pathlib import Path

from envoy.extension import Config, extension, to_any

DESCRIPTION = "/openapi.json"
PAGE = "/docs/"
CONSOLE = "/console/"
CONSOLE_PATHS = tuple(
    f"{CONSOLE}{name}" for name in ("", "index.html", "app.js", "uplot.js", "app.css", "icon.svg", "licenses.txt")
)
"""The paths of the console, which console/ builds."""

CONSOLE_PAGES = ("reset-password", "verify-email", "accept-invitation")
"""The pages of the console that links in mail lead to, see PULSETRACK_PUBLIC_URL."""

SITE_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",  # the icons in style sheets
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
"""Response headers of the page. Its policy allows resources of the same origin and calls to the same gateway."""

_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

_THREAD = {"thread_pool": {"thread_count": 1}}
_HEADERS_FILTER = "envoy.filters.http.header_mutation"
_FILES_FILTER = "envoy.filters.http.file_server"


def site_filters() -> list[Config]:
    """Returns the filters that serve files. They are disabled except on routes with the options of site_files."""
    headers = extension(_HEADERS_FILTER, "filters.http.header_mutation.v3.HeaderMutation")
    files = extension(_FILES_FILTER, "filters.http.file_server.v3.FileServerConfig", manager_config=_THREAD)
    return [{**headers, "disabled": True}, {**files, "disabled": True}]


def site_files(prefix: str, folder: Path) -> Config:
    """Returns the options of a route that serves the files of a folder, below a path, with SITE_HEADERS.

    A filter adds the headers, because Envoy does not add a route's response headers to the file server's responses.
    """
    add = [
        {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for name, value in SITE_HEADERS.items()
    ]
    return {
        _HEADERS_FILTER: to_any(
            "filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={"response_mutations": add}
        ),
        _FILES_FILTER: to_any(
            "filters.http.file_server.v3.FileServerConfig",
            manager_config=_THREAD,
            path_mappings=[{"request_path_prefix": prefix, "file_path_prefix": f"{folder}/"}],
            content_types=_CONTENT_TYPES,
            directory_behaviors=[{"default_file": "index.html"}],
        ),
    }
