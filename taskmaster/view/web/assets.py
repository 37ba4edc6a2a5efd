"""The files of the page, read once from the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["STATIC", "asset"]

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    return {path.name: (TYPES[path.suffix], path.read_bytes()) for path in STATIC.iterdir() if path.suffix in TYPES}


def asset(name: str) -> tuple[str, bytes] | None:
    """Return a file's media type and content; None if there is none of that name."""
    return _files().get(name)
