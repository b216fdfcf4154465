"""The files that the gateway serves itself: the description, and the page to read it on."""

import socket

import pytest

from envoy.site import SITE_HEADERS
from tests.envoy.gateway import Gateway, reason

FILES = ["/openapi.json", "/docs/", "/docs/index.html", "/docs/page.js", "/docs/page.css", "/docs/icon.svg"]
TYPES = {
    "/openapi.json": "application/json",
    "/docs/": "text/html; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_read_without_a_token(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    served = gateway.target.site
    assert served
    file = served / path.lstrip("/")
    assert answer.status_code == 200
    assert answer.content == (file / "index.html" if file.is_dir() else file).read_bytes()
    assert not gateway.arrived()


@pytest.mark.parametrize("path", [*TYPES])
def test_a_file_says_what_it_is_and_what_it_may_do(gateway: Gateway, path: str) -> None:
    headers = gateway.http.get(path).headers
    assert headers["content-type"] == TYPES[path]
    assert SITE_HEADERS.items() <= dict(headers).items()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
def test_its_head_can_be_asked_for(gateway: Gateway, path: str) -> None:
    answer = gateway.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == TYPES[path]


def test_a_large_file_is_compressed(gateway: Gateway) -> None:
    assert gateway.http.get("/docs/swagger-ui-bundle.js").headers["content-encoding"] == "gzip"


def test_the_page_has_one_address(gateway: Gateway) -> None:
    answer = gateway.http.get("/docs")
    assert (answer.status_code, answer.headers["location"]) == (301, str(gateway.http.base_url.join("/docs/")))


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/openapi.json", "/docs/"])
def test_a_file_can_only_be_read(gateway: Gateway, verb: str, path: str) -> None:
    answer = gateway.http.request(verb, path)
    assert (answer.status_code, reason(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/docs/nothing.js", "/openapi.json/", "/openapi.jsonx", "/docsx"])
def test_a_file_that_is_not_there_is_not_found(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert (answer.status_code, reason(answer)) == (404, "ROUTE_NOT_FOUND")


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
def test_nothing_outside_the_folder_can_be_read(gateway: Gateway, path: str) -> None:
    answer = raw_get(gateway, path)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert b"static_resources" not in answer


def raw_get(gateway: Gateway, path: str) -> bytes:
    """Gets a path as it is written, which no client does that tidies paths."""
    listen = gateway.target.listen
    with socket.create_connection((listen.host, listen.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))
