"""Tests that the sample requests cover exactly the methods with a REST path."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.protobuf.contract import PATH_VARIABLE, SERVICES, Method, all_methods
from tools import postman

METHODS = [method for method in all_methods() if method.http]


def find_method(verb: str, url: str) -> Method | None:
    """Returns the method that a request calls. None if no REST path matches."""
    path = re.sub(r"{{\w+}}|[0-9a-f-]{36}", "x", url.removeprefix("{{url}}").partition("?")[0])
    for method in METHODS:
        [http] = method.http
        if (verb, path) == (http.verb, PATH_VARIABLE.sub("x", http.path)):
            return method
    return None


def read_postman_requests() -> Iterator[tuple[str, str]]:
    [collection] = [json.loads(text) for path, text in postman.render_files().items() if "collection" in path.name]
    for folder in collection["item"]:
        for item in folder["item"]:
            yield item["request"]["method"], item["request"]["url"]["raw"]


def test_http_files_cover_every_method_and_name_it() -> None:
    called = set()
    for request in (each for name in (*SERVICES, "streams") for each in postman.read_requests(name)):
        method = find_method(request.verb, request.url)
        assert method, f"{request.verb} {request.url} matches no method"
        assert request.notes["name"].startswith(method.name)
        called.add(method.name)
    assert called == {method.name for method in METHODS}


def test_postman_collection_covers_every_unary_method() -> None:
    called = {find_method(*request) for request in read_postman_requests()}
    assert called == {method for method in METHODS if not method.streams}


def test_every_unary_request_checks_its_response() -> None:
    scripts = {request.title: request.script for name in SERVICES for request in postman.read_requests(name)}
    assert [title for title, script in scripts.items() if "client.assert(" not in script] == []


def test_each_http_file_covers_the_methods_of_its_service() -> None:
    for name in SERVICES:
        names = {request.notes["name"] for request in postman.read_requests(name)}
        own = {method.name for method in METHODS if f".{name}." in method.path and not method.streams}
        assert own <= names


def test_postman_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["postman", "--check"])
    assert postman.main() == 0


def test_stale_postman_files_are_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = postman.REQUESTS / "postman" / "pulsetrack.postman_collection.json"
    for path in (*postman.REQUESTS.glob("*.http"), postman.REQUESTS / "http-client.env.json"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(postman, "REQUESTS", tmp_path)
    monkeypatch.setattr(postman, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["postman", "--check"])
    assert postman.main() == 1
    assert "postman/pulsetrack.postman_collection.json is stale" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["postman"])
    assert postman.main() == 0
    written = tmp_path / "postman" / "pulsetrack.postman_collection.json"
    assert written.read_text() == committed.read_text()


def test_malformed_request_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auth.http").write_text("### Log in\nplease\n")
    monkeypatch.setattr(postman, "REQUESTS", tmp_path)
    with pytest.raises(postman.RequestsError, match=r"auth\.http: 'Log in' cannot be parsed"):
        list(postman.read_requests("auth"))


def test_environments_contain_no_secret() -> None:
    environments: dict[str, Any] = json.loads((postman.REQUESTS / "http-client.env.json").read_text())
    assert {variables["adminPassword"] for variables in environments.values()} == {""}
