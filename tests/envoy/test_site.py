"""Static files: the OpenAPI description, its reference page, and the web console."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envoy.site import CONSOLE_PATHS, SITE_HEADERS
from tests.envoy.gateway import Gateway, error_reason

FILES = ["/openapi.json", "/docs/", "/docs/index.html", "/docs/page.js", "/docs/page.css", "/docs/icon.svg"]
TYPES = {
    "/openapi.json": "application/json",
    "/docs/": "text/html; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize("path", FILES)
def test_file_requires_no_token(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path)
    served = gateway.target.site
    assert served
    file = served / path.lstrip("/")
    assert response.status_code == 200
    assert response.content == (file / "index.html" if file.is_dir() else file).read_bytes()
    assert not gateway.received_calls()


@pytest.mark.parametrize("path", [*TYPES])
def test_file_has_content_type_and_security_headers(gateway: Gateway, path: str) -> None:
    headers = gateway.http.get(path).headers
    assert headers["content-type"] == TYPES[path]
    assert SITE_HEADERS.items() <= dict(headers).items()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
def test_file_supports_head(gateway: Gateway, path: str) -> None:
    response = gateway.http.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == TYPES[path]


def test_large_file_is_compressed(gateway: Gateway) -> None:
    assert gateway.http.get("/docs/swagger-ui-bundle.js").headers["content-encoding"] == "gzip"


def test_page_without_trailing_slash_is_redirected(gateway: Gateway) -> None:
    response = gateway.http.get("/docs")
    assert (response.status_code, response.headers["location"]) == (301, str(gateway.http.base_url.join("/docs/")))


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
def test_file_rejects_other_http_methods(gateway: Gateway, verb: str, path: str) -> None:
    response = gateway.http.request(verb, path)
    assert (response.status_code, error_reason(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/docs/nothing.js", "/openapi.json/", "/openapi.jsonx", "/docsx"])
def test_missing_file_is_not_found(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path)
    assert (response.status_code, error_reason(response)) == (404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../envoy.yaml",
        "/docs/../../envoy.yaml",
        "/docs/%2e%2e/%2e%2e/envoy.yaml",
        "/docs/..%2f..%2fenvoy.yaml",
        "/docs/..\\..\\envoy.yaml",
        "/docs//etc/passwd",
        "/openapi.json/../../envoy.yaml",
        "/openapi.json/..;/envoy.yaml",
    ],
)
def test_files_outside_the_site_folder_are_not_served(gateway: Gateway, path: str) -> None:
    response = raw_get(gateway, path)
    assert response.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert b"static_resources" not in response


BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def console(gateway: Gateway) -> Iterator[Path]:
    """A built console, which is removed after the test."""
    folder = gateway.target.console
    assert folder
    folder.mkdir()
    for name in ("index.html", "app.js", "uplot.js", "app.css", "icon.svg", "licenses.txt"):
        (folder / name).write_text(name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("path", CONSOLE_PATHS)
def test_console_is_served_with_security_headers(gateway: Gateway, console: Path, path: str) -> None:
    response = gateway.http.get(path)
    name = path.removeprefix("/console/") or "index.html"
    assert (response.status_code, response.text) == (200, name)
    assert SITE_HEADERS.items() <= dict(response.headers).items()


@pytest.mark.parametrize("path", CONSOLE_PATHS)
def test_missing_console_names_the_command_that_builds_it(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path)
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<code>make console</code>" in response.text
    assert SITE_HEADERS.items() <= dict(response.headers).items()


@pytest.mark.parametrize("path", ["/console/version", "/console/nothing.js", "/consolex", "/console/../envoy.yaml"])
def test_other_files_of_the_console_are_not_served(gateway: Gateway, console: Path, path: str) -> None:
    (console / "version").write_text("version")
    response = raw_get(gateway, path)
    assert response.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("path", ["/", "/?utm=1"])
def test_browser_is_redirected_from_the_root_to_the_console(gateway: Gateway, path: str) -> None:
    response = gateway.http.get(path, headers=BROWSER)
    assert response.status_code == 302
    assert response.headers["location"].startswith(str(gateway.http.base_url.join("/console/")))


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_root_is_not_found_for_clients_of_the_api(gateway: Gateway, accept: str) -> None:
    response = gateway.http.get("/", headers={"accept": accept})
    assert (response.status_code, error_reason(response)) == (404, "ROUTE_NOT_FOUND")


def raw_get(gateway: Gateway, path: str) -> bytes:
    """Requests a path without normalization, which HTTP clients would apply."""
    listen = gateway.target.listen
    with socket.create_connection((listen.host, listen.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))
