"""What is in the collections: each method that has a REST path, as the protos say it, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.contract import PATH_VARIABLE, Method, all_methods
from tools import postman

METHODS = [method for method in all_methods() if method.http]


def method_of(verb: str, url: str) -> Method | None:
    """Returns the method that a request with variables in double braces calls."""
    path = re.sub(r"{{\w+}}|[0-9a-f-]{36}", "x", url.removeprefix("{{url}}").partition("?")[0])
    for method in METHODS:
        [http] = method.http
        if (verb, path) == (http.verb, PATH_VARIABLE.sub("x", http.path)):
            return method
    return None


def in_postman() -> Iterator[tuple[str, str]]:
    [collection] = [json.loads(text) for path, text in postman.files().items() if "collection" in path.name]
    for folder in collection["item"]:
        for item in folder["item"]:
            yield item["request"]["method"], item["request"]["url"]["raw"]


def test_every_method_is_in_the_http_files_and_each_request_has_the_name_of_its_method() -> None:
    called = set()
    for request in (each for name in (*postman.SERVICES, "watch") for each in postman.requests(name)):
        method = method_of(request.verb, request.url)
        assert method, f"{request.verb} {request.url} is in no proto"
        assert request.notes["name"].startswith(method.name)
        called.add(method.name)
    assert called == {method.name for method in METHODS}


def test_every_method_that_ends_is_in_the_postman_collection() -> None:
    called = {method_of(*request) for request in in_postman()}
    assert called == {method for method in METHODS if not method.streams}


def test_every_request_that_ends_tests_its_answer() -> None:
    scripts = {request.title: request.script for name in postman.SERVICES for request in postman.requests(name)}
    assert [title for title, script in scripts.items() if "client.assert(" not in script] == []


def test_a_service_has_its_methods_in_its_own_file() -> None:
    for name in postman.SERVICES:
        names = {request.notes["name"] for request in postman.requests(name)}
        own = {method.name for method in METHODS if f".{name}." in method.path and not method.streams}
        assert own <= names


def test_the_files_for_postman_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["postman", "--check"])
    assert postman.main() == 0


def test_files_for_postman_that_are_stale_are_named_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = postman.REQUESTS / "postman" / "pulsetrack.postman_collection.json"
    for path in (*postman.REQUESTS.glob("*.http"), postman.REQUESTS / "http-client.env.json"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(postman, "REQUESTS", tmp_path)
    monkeypatch.setattr(postman, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["postman", "--check"])
    assert postman.main() == 1
    assert "postman/pulsetrack.postman_collection.json is not what requests/*.http say" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["postman"])
    assert postman.main() == 0
    written = tmp_path / "postman" / "pulsetrack.postman_collection.json"
    assert written.read_text() == committed.read_text()


def test_a_request_that_is_written_otherwise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auth.http").write_text("### Log in\nplease\n")
    monkeypatch.setattr(postman, "REQUESTS", tmp_path)
    with pytest.raises(postman.RequestsError, match=r"auth\.http: 'Log in' is not written"):
        list(postman.requests("auth"))


def test_there_is_no_secret_in_the_environments() -> None:
    environments: dict[str, Any] = json.loads((postman.REQUESTS / "http-client.env.json").read_text())
    assert {said["adminPassword"] for said in environments.values()} == {""}
