"""Writes the static site that the gateway serves: openapi.json, and the API reference under docs/."""

import json
import shutil
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from envoy.site import DESCRIPTION, PAGE

_OPENAPI = Path(__file__).resolve().parents[2] / "gen" / "openapi.json"
_PAGE = Path(__file__).resolve().parent / "page"
_SWAGGER_UI = "swagger-ui-py"
_SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE")
_OPERATIONS = "<!-- operations -->"
_LIST = '<div class="swagger-ui"><div class="wrapper"><section class="block">{}</section></div></div>'
_TAG = '<div class="opblock-tag-section"><h2 class="opblock-tag">{}</h2>{}</div>'
_OPERATION = (
    '<div class="opblock opblock-{0}"><div class="opblock-summary"><span class="opblock-summary-method">{0}</span>'
    '<span class="opblock-summary-path">{1}</span><span class="opblock-summary-description">{2}</span></div></div>'
)


def list_paths() -> list[str]:
    """Returns the path of each file, and that of the page."""
    names = ["", *sorted(file.name for file in _PAGE.iterdir()), *_SWAGGER_UI_FILES]
    return [DESCRIPTION, *(f"{PAGE}{name}" for name in names)]


def write_site(folder: Path) -> Path:
    """Writes the site to a folder and returns the folder. Creates the folder if it does not exist."""
    docs = folder / "docs"
    shutil.copytree(_PAGE, docs, dirs_exist_ok=True)
    page = docs / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace(_OPERATIONS, _list_operations()), encoding="utf-8")
    for name in _SWAGGER_UI_FILES:
        shutil.copy(str(distribution(_SWAGGER_UI).locate_file(f"swagger_ui/static/{name}")), docs)
    shutil.copy(_OPENAPI, folder)
    return folder


def _list_operations() -> str:
    """Returns the operations in HTML, with the classes of Swagger UI, which replaces them once it has loaded.

    They can be read at once, and without JavaScript.
    """
    document = json.loads(_OPENAPI.read_text(encoding="utf-8"))
    tags: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            tags[operation["tags"][0]].append(_OPERATION.format(verb, path, escape(operation["summary"])))
    sections = (_TAG.format(tag, "".join(operations)) for tag, operations in tags.items())
    return _LIST.format("".join(sections))
