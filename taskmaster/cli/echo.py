"""What the commands print: lines in which nothing can tell a terminal anything."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from taskmaster.redaction import clean

__all__ = ["echo", "echo_json"]


def echo(*lines: str, err: bool = False) -> None:
    """Print lines, each cleaned: keys, jobs, messages and names come from anywhere."""
    click.echo("\n".join(map(clean, lines)), err=err)


def echo_json(value: dict[str, Any]) -> None:
    """Print an object in one line; what JSON has no number for (NaN, infinity) is null."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False)
    click.echo(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
