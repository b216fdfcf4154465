"""Generates the Postman collection and environments from requests/*.http: `make postman`.

`--check` compares the generated files with the committed files and writes nothing.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.protobuf.contract import SERVICES
from tools.local.process import ROOT

REQUESTS = ROOT / "requests"
"""The files to include, in order. streams.http is not included: a watch does not end."""

Json = dict[str, Any]

_COLLECTION = Path("postman/pulsetrack.postman_collection.json")
_ENVIRONMENT = Path("postman/{}.postman_environment.json")
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_SECRETS = {"adminPassword", "password"}

_FORM = re.compile(
    r"(?P<title>[^\n]+)\n"
    r"(?P<notes>(?:# @[^\n]+\n)*)"
    r"(?P<verb>[A-Z]+) (?P<url>\S+)\n"
    r"(?P<headers>(?:[\w-]+: [^\n]+\n)*)"
    r"(?:\n(?P<body>\{.*?\n))?"
    r"(?:\n> \{%\n(?P<script>.*)%\}\n)?\s*",
    re.DOTALL,
)

_PRELUDE = """\
const response = { status: pm.response.code, body: pm.response.text() && pm.response.json() };
const client = {
  test: pm.test,
  assert: (condition, message) => pm.expect(condition, message).to.be.ok,
  global: { set: (name, value) => pm.environment.set(name, value) },
};
"""
"""Defines the objects that scripts in .http files use, on top of Postman's API."""


class RequestsError(Exception):
    """Raised when a request in a .http file cannot be parsed. The message is shown to the user."""


@dataclass(frozen=True)
class Request:
    """A request in a .http file. Variables keep their double braces."""

    title: str
    notes: dict[str, str]
    """The annotations in its comments: `name`, and `sleep` in milliseconds."""
    verb: str
    url: str
    headers: dict[str, str]
    body: str
    script: str
    """The script that runs after the response."""


def main() -> int:
    """Returns the exit code: 1 if a file cannot be parsed or, with --check, a generated file is stale."""
    try:
        texts = render_files()
    except RequestsError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in texts.items() if not (path.exists() and path.read_text("utf-8") == text)]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale. Run `make postman`.", file=sys.stderr)
        return int(any(stale))
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path], "utf-8")
    return 0


def render_files() -> dict[Path, str]:
    """Returns the text of each generated file. Raises RequestsError."""
    environments = json.loads((REQUESTS / "http-client.env.json").read_text("utf-8"))
    contents = {
        _COLLECTION: _build_collection(),
        **{
            Path(str(_ENVIRONMENT).format(name)): _build_environment(name, values)
            for name, values in environments.items()
        },
    }
    return {
        REQUESTS / path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in contents.items()
    }


def read_requests(name: str) -> Iterator[Request]:
    """Yields the requests of a .http file, given by its name without the suffix. Raises RequestsError."""
    _, *blocks = (REQUESTS / f"{name}.http").read_text("utf-8").split("### ")
    for block in blocks:
        match = _FORM.fullmatch(block)
        if match is None:
            raise RequestsError(
                f"{name}.http: {block.splitlines()[0]!r} cannot be parsed. Follow the format of the other requests."
            )
        yield Request(
            title=match["title"],
            notes=dict(re.findall(r"# @(\w+) (.*)", match["notes"])),
            verb=match["verb"],
            url=match["url"],
            headers=dict(line.split(": ", 1) for line in match["headers"].splitlines()),
            body=(match["body"] or "").strip(),
            script=match["script"] or "",
        )


def _build_collection() -> Json:
    return {
        "info": {
            "name": "PulseTrack",
            "description": "Sample requests to each service, in order. Generated from requests/*.http.",
            "schema": _SCHEMA,
        },
        "item": [
            {"name": name, "item": [_build_item(request) for request in read_requests(name)]} for name in SERVICES
        ],
    }


def _build_item(request: Request) -> Json:
    events = []
    if wait := request.notes.get("sleep"):
        events.append(_build_event("prerequest", f"setTimeout(() => {{}}, {wait});"))
    if request.script:
        events.append(_build_event("test", _PRELUDE + request.script.rstrip()))
    return {"name": request.title, "event": events, "request": _build_request(request)}


def _build_event(when: str, script: str) -> Json:
    return {"listen": when, "script": {"type": "text/javascript", "exec": script.splitlines()}}


def _build_request(request: Request) -> Json:
    result: Json = {
        "method": request.verb,
        "header": [{"key": key, "value": _convert_variables(value)} for key, value in request.headers.items()],
        "url": _build_url(request.url),
    }
    if request.body:
        result["body"] = {
            "mode": "raw",
            "raw": _convert_variables(request.body),
            "options": {"raw": {"language": "json"}},
        }
    return result


def _build_url(url: str) -> Json:
    path, _, query = url.partition("?")
    host, *segments = path.split("/")
    result: Json = {"raw": url, "host": [host], "path": segments}
    if query:
        result["query"] = [dict(zip(("key", "value"), pair.split("="), strict=True)) for pair in query.split("&")]
    return result


def _convert_variables(text: str) -> str:
    return text.replace("{{$random.uuid}}", "{{$guid}}")


def _build_environment(name: str, variables: dict[str, str]) -> Json:
    values = [
        {"key": key, "value": value, "type": "secret" if key in _SECRETS else "default", "enabled": True}
        for key, value in variables.items()
    ]
    return {"name": f"PulseTrack, {name}", "values": values, "_postman_variable_scope": "environment"}


if __name__ == "__main__":
    sys.exit(main())
