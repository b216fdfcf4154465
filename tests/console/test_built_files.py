"""The built console: its size, and its page."""

import gzip
import re

from console import OUTPUT

MAX_BYTES = 120_000


def test_scripts_are_small_when_compressed(built: None) -> None:
    assert sum(len(gzip.compress(script.read_bytes())) for script in OUTPUT.glob("*.js")) < MAX_BYTES


def test_page_has_no_inline_code_and_names_no_other_host(built: None) -> None:
    page = (OUTPUT / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<style|style=|\son\w+=|https?:|//", page) == []
    assert re.findall(r"<script([^>]*)>", page) == [' type="module" src="app.js"']
