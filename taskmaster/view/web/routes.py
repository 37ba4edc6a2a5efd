"""Which path gives what, and what a command to the run looks like. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["MAX_BODY_BYTES", "BadCommand", "Route", "history_span", "route_of", "slaves_page", "steer_request"]

MAX_BODY_BYTES = 4096
LONGEST_ARGUMENT = 300  # characters of a reason or an argument
MAX_NAME = 64  # characters of a person's name
SPAN_NAMES = ("10m", "6h", "all")
"""Spans of the run's history that can be asked for."""


class Route(StrEnum):
    """What can be asked for."""

    PAGE = "/"
    STATIC = "/static/"
    STATUS = "/api/v1/status"
    HISTORY = "/api/v1/history"
    SETTINGS = "/api/v1/settings"
    SLAVES = "/api/v1/slaves"
    REPORT = "/report"
    STEER = "/api/v1/steer"
    METRICS = "/metrics"
    HEALTH = "/healthz"


class BadCommand(ValueError):
    """What was sent is no command; the text says why."""


def route_of(path: str) -> Route | None:
    """Return what a path asks for; None if there is nothing under it."""
    if path.startswith(Route.STATIC):
        return Route.STATIC
    try:
        return Route(path)
    except ValueError:
        return None


def history_span(query: Mapping[str, str]) -> str:
    """Return of what span the history is asked for; ten minutes if that is no span."""
    span = query.get("span", "")
    return span if span in SPAN_NAMES else SPAN_NAMES[0]


def slaves_page(query: Mapping[str, str]) -> tuple[str, int]:
    """Return by what the slaves are sorted, and how many are left out."""
    after = query.get("after", "")
    # More than six digits count as 0: the answer to each number is kept for a while.
    return query.get("sort", "")[:20], int(after) if after.isascii() and after.isdigit() and len(after) < 7 else 0


def steer_request(body: bytes, host: str) -> dict[str, Any]:
    """Return what a body asks the master for, as ``steer`` takes it.

    The master checks the command and its arguments; here it is made sure that the request is of
    texts, and says where it comes from.

    Args:
        body: What was sent.
        host: The address that it came from, as this server sees it.

    Raises:
        BadCommand: It is no command.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadCommand("That is no JSON.") from None
    if not isinstance(value, dict):
        raise BadCommand("A command is an object with an id, a command and its arguments.")
    arguments = value.get("arguments", {})
    if not isinstance(arguments, dict) or not all(isinstance(one, str) for one in arguments.values()):
        raise BadCommand("The arguments are an object of texts.")
    texts = {name: value.get(name, "") for name in ("id", "command", "reason", "user", "run")}
    if not all(isinstance(text, str) and len(text) <= LONGEST_ARGUMENT for text in texts.values()):
        raise BadCommand(f"id, command, reason, user and run are texts of at most {LONGEST_ARGUMENT} characters.")
    return {
        "id": texts["id"],
        "command": texts["command"],
        "by": {"user": texts["user"][:MAX_NAME] or "somebody", "host": host[:MAX_NAME], "pid": 0, "via": "web"},
        "reason": texts["reason"],
        "arguments": arguments,
        "run": texts["run"],
    }
