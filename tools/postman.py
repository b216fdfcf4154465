"""Writes Postman's collection and environment from requests/*.http: `make postman`; `--check` only compares."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.local.process import ROOT

REQUESTS = ROOT / "requests"
SERVICES = ("auth", "patient", "billing", "analytics")
"""The files of requests that end by themselves, in the order in which a person would try them."""

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
const response = { status: pm.response.code, body: pm.response.json() };
const client = {
  test: pm.test,
  assert: (condition, message) => pm.expect(condition, message).to.be.ok,
  global: { set: (name, value) => pm.environment.set(name, value) },
};
"""
"""What the scripts in the files expect, in Postman's terms."""


class RequestsError(Exception):
    """Occurs when a file is not written as this tool reads it. Its text is for the user."""


@dataclass(frozen=True)
class Request:
    """A request of a file, with its variables in double braces as there."""

    title: str
    notes: dict[str, str]
    """What its comments say: `name`, and `sleep` in milliseconds."""
    verb: str
    url: str
    headers: dict[str, str]
    body: str
    script: str
    """What runs on the answer."""


def main() -> int:
    """Returns the exit code: 1 if a file cannot be read or, with --check, is not what would be written."""
    try:
        texts = files()
    except RequestsError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in texts.items() if not (path.exists() and path.read_text("utf-8") == text)]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what requests/*.http say: run `make postman`.", file=sys.stderr)
        return int(any(stale))
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path], "utf-8")
    return 0


def files() -> dict[Path, str]:
    """Returns the files of Postman as they should be. Raises RequestsError."""
    environments = json.loads((REQUESTS / "http-client.env.json").read_text("utf-8"))
    contents = {
        _COLLECTION: _collection(),
        **{Path(str(_ENVIRONMENT).format(name)): _environment(name, said) for name, said in environments.items()},
    }
    return {
        REQUESTS / path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in contents.items()
    }


def requests(name: str) -> Iterator[Request]:
    """Yields the requests of a file, by its name without the ending. Raises RequestsError."""
    _, *blocks = (REQUESTS / f"{name}.http").read_text("utf-8").split("### ")
    for block in blocks:
        found = _FORM.fullmatch(block)
        if found is None:
            raise RequestsError(f"{name}.http: {block.splitlines()[0]!r} is not written as the others are.")
        yield Request(
            title=found["title"],
            notes=dict(re.findall(r"# @(\w+) (.*)", found["notes"])),
            verb=found["verb"],
            url=found["url"],
            headers=dict(line.split(": ", 1) for line in found["headers"].splitlines()),
            body=(found["body"] or "").strip(),
            script=found["script"] or "",
        )


def _collection() -> Json:
    return {
        "info": {
            "name": "PulseTrack",
            "description": "Each service, in the order in which a person would try it. Made from requests/*.http.",
            "schema": _SCHEMA,
        },
        "item": [{"name": name, "item": [_item(request) for request in requests(name)]} for name in SERVICES],
    }


def _item(request: Request) -> Json:
    events = []
    if wait := request.notes.get("sleep"):
        events.append(_event("prerequest", f"setTimeout(() => {{}}, {wait});"))
    if request.script:
        events.append(_event("test", _PRELUDE + request.script.rstrip()))
    return {"name": request.title, "event": events, "request": _request(request)}


def _event(when: str, script: str) -> Json:
    return {"listen": when, "script": {"type": "text/javascript", "exec": script.splitlines()}}


def _request(request: Request) -> Json:
    said: Json = {
        "method": request.verb,
        "header": [{"key": key, "value": _variables(value)} for key, value in request.headers.items()],
        "url": _url(request.url),
    }
    if request.body:
        said["body"] = {"mode": "raw", "raw": _variables(request.body), "options": {"raw": {"language": "json"}}}
    return said


def _url(url: str) -> Json:
    path, _, query = url.partition("?")
    host, *segments = path.split("/")
    said: Json = {"raw": url, "host": [host], "path": segments}
    if query:
        said["query"] = [dict(zip(("key", "value"), pair.split("="), strict=True)) for pair in query.split("&")]
    return said


def _variables(text: str) -> str:
    return text.replace("{{$random.uuid}}", "{{$guid}}")


def _environment(name: str, variables: dict[str, str]) -> Json:
    values = [
        {"key": key, "value": value, "type": "secret" if key in _SECRETS else "default", "enabled": True}
        for key, value in variables.items()
    ]
    return {"name": f"PulseTrack, {name}", "values": values, "_postman_variable_scope": "environment"}


if __name__ == "__main__":
    sys.exit(main())
