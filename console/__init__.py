"""The web console: its sources, and the program that builds it with the Node.js of a Python package."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "console"
"""The folder of the built files."""
