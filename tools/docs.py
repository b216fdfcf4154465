"""Builds the documentation site in build/docs/site: `python -m tools.docs`. Fails if a link to a page is broken.

The pages are the Markdown files of the repository. Links to other files of the repository become plain text, because
the site does not contain them.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "docs"
SITE = BUILD / "site"

_PAGES = (
    "*.md",
    "docs/**/*.md",
    "docs/*.svg",
    "docs/*.png",
    "docs/*.css",
    "clients/python/README.md",
    "requests/README.md",
    "tests/infrastructure/standin/README.md",
)
_FILE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)\)")


def main() -> int:
    """Returns the exit code of the build."""
    pages = BUILD / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for pattern in _PAGES:
        for path in ROOT.glob(pattern):
            target = pages / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                target.write_text(_remove_file_links(path.read_text(encoding="utf-8")), encoding="utf-8")
            else:
                shutil.copyfile(path, target)
    (pages / "docs" / "adr" / "README.md").write_text(_list_decisions(), encoding="utf-8")
    shutil.copyfile(ROOT / "docs" / "zensical.toml", BUILD / "zensical.toml")
    command = [str(BUILD / "bin" / "zensical"), "build", "--clean", "--strict", "--config-file", "zensical.toml"]
    return subprocess.run(command, cwd=BUILD, check=False).returncode


def _remove_file_links(text: str) -> str:
    """Replaces links to files that are not pages by their text."""
    return _FILE_LINK.sub(lambda link: link[0] if link[2].endswith(".md") else link[1], text)


def _list_decisions() -> str:
    """Returns the page with the list of decisions."""
    paths = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in paths]
    items = [f"- [{title.replace('. ', ': ', 1)}]({path.name})" for title, path in zip(titles, paths, strict=True)]
    return "\n".join(["# Decisions", "", *items, ""])


if __name__ == "__main__":
    sys.exit(main())
