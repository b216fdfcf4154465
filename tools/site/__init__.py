"""Writes the folder that the gateway serves: openapi.json, and docs/ with the API reference."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

_OPENAPI = Path(__file__).resolve().parents[2] / "gen" / "openapi.json"
_PAGE = Path(__file__).resolve().parent / "page"
_SWAGGER_UI = "swagger-ui-py"
_FROM_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE")


def write(folder: Path) -> Path:
    """Writes the site into a folder, which need not be there, and returns the folder."""
    docs = folder / "docs"
    shutil.copytree(_PAGE, docs, dirs_exist_ok=True)
    for name in _FROM_SWAGGER_UI:
        shutil.copy(str(distribution(_SWAGGER_UI).locate_file(f"swagger_ui/static/{name}")), docs)
    shutil.copy(_OPENAPI, folder)
    return folder
