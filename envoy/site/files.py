"""Writes the static site that the gateway serves: openapi.json, and the API reference under docs/."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

from envoy.site import DESCRIPTION, PAGE

_OPENAPI = Path(__file__).resolve().parents[2] / "gen" / "openapi.json"
_PAGE = Path(__file__).resolve().parent / "page"
_SWAGGER_UI = "swagger-ui-py"
_SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE")


def list_paths() -> list[str]:
    """Returns the path of each file, and that of the page."""
    names = ["", *sorted(file.name for file in _PAGE.iterdir()), *_SWAGGER_UI_FILES]
    return [DESCRIPTION, *(f"{PAGE}{name}" for name in names)]


def write_site(folder: Path) -> Path:
    """Writes the site to a folder and returns the folder. Creates the folder if it does not exist."""
    docs = folder / "docs"
    shutil.copytree(_PAGE, docs, dirs_exist_ok=True)
    for name in _SWAGGER_UI_FILES:
        shutil.copy(str(distribution(_SWAGGER_UI).locate_file(f"swagger_ui/static/{name}")), docs)
    shutil.copy(_OPENAPI, folder)
    return folder
