"""Accessibility checks of pages with axe, which the console's packages contain."""

from typing import Any

from playwright.sync_api import Page

from console.build import build
from tools.local.process import ROOT

_AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"


def find_barriers(page: Page, *, standards: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Returns the impact of each accessibility problem of a page, and its rule and element.

    Applies all rules, or those of standards such as "wcag22aa".
    """
    if not _AXE.exists():
        build()
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    options = {"runOnly": [*standards]} if standards else {}
    result: dict[str, Any] = page.evaluate("options => axe.run(options)", options)
    return [
        (found["impact"], f"{found['id']}: {node['html']}") for found in result["violations"] for node in found["nodes"]
    ]
